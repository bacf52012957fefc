"""What is asked of the service by REST: of the endpoint in use, and of the next one where that is not reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs

from trio_projectx._errors import ConnectError
from trio_projectx.connection.accounts import AccountDirectory
from trio_projectx.connection.directory import ContractDirectory, Instrument
from trio_projectx.connection.repeat import repeated
from trio_projectx.connection.sites import Site, Sites

T = TypeVar("T")
#: Who opens a stream waits for the answer: a moment of weakness is bridged, an outage is told.
_ATTEMPTS: Final = 3


@attrs.frozen(slots=True)
class Service:
    """The REST side of one gateway."""

    sites: Sites
    wall_clock: Callable[[], int]
    deadline_s: float
    """Of one request."""

    async def ask(self, question: Callable[[Site], Awaitable[T]]) -> T:
        """Return the answer of the first endpoint that is reached, beginning with the one in use.

        :raises ConnectError: of the endpoint in use, if none is reached.
        :raises TrioProjectXError: whatever else the question raises; the next endpoint would say the same.
        """
        failure: ConnectError | None = None
        first = self.sites.current
        for step in range(len(self.sites)):
            number = (first + step) % len(self.sites)
            try:
                answer = await question(self.sites[number])
            except ConnectError as exc:
                failure = failure or exc
            else:
                self.sites.current = number
                return answer
        assert failure is not None
        raise failure

    async def log_in(self) -> None:
        """Get a token from the first endpoint that is reached."""

        async def log_in(site: Site) -> None:
            await site.tokens.token()

        await self.ask(log_in)

    async def contract(self, text: str) -> Instrument:
        """Return the contract that ``text`` means, as `ContractDirectory.resolve`; what may pass is bridged."""

        async def resolve(site: Site) -> Instrument:
            return await ContractDirectory(site.rest, site.tokens, self.wall_clock).resolve(text)

        async def once() -> Instrument:
            return await self.ask(resolve)

        within_s = len(self.sites) * self.deadline_s
        return await repeated("Contract/search", once, deadline_s=within_s, attempts=_ATTEMPTS)

    async def accounts(self, account_id: int | None) -> tuple[int, ...]:
        """Return the accounts that are meant, as `AccountDirectory.ids`."""

        async def find(site: Site) -> tuple[int, ...]:
            return await AccountDirectory(site.rest, site.tokens).ids(account_id)

        return await self.ask(find)

    async def newest_bar_ns(self, contract_id: str, since_ns: int, *, live: bool = False) -> int | None:
        """Return the start of the newest bar since ``since_ns``; None if there is none."""

        async def look(site: Site) -> int | None:
            async def with_token(token: str) -> int | None:
                return await site.rest.newest_bar_ns(contract_id, since_ns, token, live=live)

            return await site.tokens.using(with_token)

        return await self.ask(look)
