"""The endpoints of one gateway, each with its own REST client and its own token: no token goes to another endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from trio_projectx._config import Endpoint
from trio_projectx._events import HubName
from trio_projectx.connection.auth import TokenSource
from trio_projectx.connection.negotiator import HubAddress
from trio_projectx.connection.rest import RestClient


@attrs.frozen(slots=True)
class Site:
    """One endpoint."""

    endpoint: Endpoint
    rest: RestClient = attrs.field(repr=False)
    tokens: TokenSource
    market: HubAddress
    user: HubAddress

    def address_of(self, hub: HubName) -> HubAddress:
        """Return where a hub is."""
        return self.market if hub == "market" else self.user


class Sites:
    """All endpoints, the preferred one first; ``current`` is the one that REST uses."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self._sites = tuple(sites)
        self.current = 0

    def __getitem__(self, number: int) -> Site:
        return self._sites[number]

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)
