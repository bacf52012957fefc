"""`Rest`: what users may ask of the service's REST side, with the token handled and the results typed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs

from trio_projectx._errors import ConfigError
from trio_projectx._redact import escape
from trio_projectx.connection.accounts import WireAccount
from trio_projectx.connection.answers import WireContract
from trio_projectx.connection.directory import ContractDirectory
from trio_projectx.connection.repeat import repeated
from trio_projectx.connection.rest import RestClient
from trio_projectx.connection.service import Service
from trio_projectx.connection.sites import Site

T = TypeVar("T")
_TEXT_MOST: Final = 100


@attrs.frozen(slots=True)
class Contract:
    """A contract as the service lists it; texts are escaped and cut."""

    id: str
    """``CON.F.US.MNQ.U26``: what `Gateway.open_bars` takes."""
    name: str
    """``MNQU6``."""
    description: str
    tick_size: float | None
    """The step of its prices; None if the service does not say."""
    tick_value: float | None
    """What one tick of one contract is worth, in dollars."""
    active: bool
    """Whether it is the expiry that the service trades now."""


@attrs.frozen(slots=True)
class Account:
    """An account of yours as the service lists it; None is what it does not say."""

    id: int
    name: str
    balance: float | None
    can_trade: bool | None
    visible: bool | None
    simulated: bool | None
    """True also for funded accounts (GATEWAY.md section 1.2)."""


class Rest:
    """The service's lists, asked anew each time; get it as ``gateway.rest``.

    All calls share the gateway's token (one that has expired is renewed once), its endpoints and the service's limits
    (200 requests in 60 s), and are asked again after what may pass: not reached, 429 (after ``Retry-After``), 5xx. In
    all a call takes at most twice ``timeouts.rest_s``. Cancelling one frees its place. There is no logout: that would
    end the token of the gateway's own streams; it ends by itself.

    :raises ConnectError: if the service was not reached (`ConnectTimeout`: not in time).
    :raises AuthError: if it refuses the token, also a fresh one.
    :raises GatewayError: if it refuses (``success: false``): ``code`` and ``text`` are its own.
    :raises ProtocolError: if the answer is not the service's, or too long (``limits.rest_body_bytes``).
    """

    def __init__(self, service: Service, deadline_s: float) -> None:
        self._service = service
        self._deadline_s = deadline_s

    async def contracts(self, text: str, *, live: bool = False) -> tuple[Contract, ...]:
        """Return at most 20 contracts that the service's search finds for ``text``.

        It is fuzzy: "ES" finds EP, MES and others; `contract` finds the one. ``live`` is the tier of data, where the
        wrong one finds nothing.

        :raises ConfigError: if ``text`` is empty, or longer than 100 characters.
        """
        if not isinstance(text, str) or not 0 < len(text) <= _TEXT_MOST:
            raise ConfigError(f"a search takes a text of 1 to {_TEXT_MOST} characters")

        async def ask(rest: RestClient, token: str) -> list[WireContract]:
            return await rest.search_contracts(text, live=live, token=token)

        return _contracts(await self._with_token("Contract/search", ask))

    async def contract(self, text: str) -> Contract:
        """Return the contract that ``text`` means: a product ("MNQ"), a ticker ("ES" is EP, never MES) or a full id.

        :raises ContractError: if nobody knows it, or the service lists no active contract of it, or several.
        """

        async def describe(site: Site) -> WireContract:
            return await ContractDirectory(site.rest, site.tokens, self._service.wall_clock).describe(text)

        path = "Contract/searchById" if str(text).startswith("CON.") else "Contract/search"
        return _contract(await self._asked(path, describe))

    async def available_contracts(self, *, live: bool = False) -> tuple[Contract, ...]:
        """Return what the service trades now: one active expiry of each product."""

        async def ask(rest: RestClient, token: str) -> list[WireContract]:
            return await rest.available_contracts(live=live, token=token)

        return _contracts(await self._with_token("Contract/available", ask))

    async def accounts(self, *, active: bool = True) -> tuple[Account, ...]:
        """Return your accounts: the active ones, or all."""

        async def ask(rest: RestClient, token: str) -> list[WireAccount]:
            return await rest.search_accounts(token, active=active)

        return tuple(_account(each) for each in await self._with_token("Account/search", ask))

    async def ping(self) -> None:
        """Return if the service is there, and raise if it is not; it needs no token."""

        async def ask(site: Site) -> None:
            await site.rest.ping()

        await self._asked("Status/ping", ask)

    async def _with_token(self, path: str, ask: Callable[[RestClient, str], Awaitable[T]]) -> T:
        async def at(site: Site) -> T:
            async def with_token(token: str) -> T:
                return await ask(site.rest, token)

            return await site.tokens.using(with_token)

        return await self._asked(path, at)

    async def _asked(self, path: str, question: Callable[[Site], Awaitable[T]]) -> T:
        async def once() -> T:
            return await self._service.ask(question)

        return await repeated(path, once, deadline_s=self._deadline_s)


def _contracts(found: list[WireContract]) -> tuple[Contract, ...]:
    return tuple(_contract(each) for each in found)


def _contract(found: WireContract) -> Contract:
    return Contract(
        escape(found.id, 60),
        escape(found.name or "", 60),
        escape(found.description or "", 200),
        found.tickSize,
        found.tickValue,
        found.activeContract,
    )


def _account(found: WireAccount) -> Account:
    return Account(
        found.id,
        escape(found.name or "", 60),
        found.balance,
        found.canTrade,
        found.isVisible,
        found.simulated,
    )
