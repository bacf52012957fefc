"""Your accounts, as the service lists them: which there are to subscribe to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from trio_projectx._errors import ConfigError, GatewayError
from trio_projectx._logs import fields
from trio_projectx._redact import escape
from trio_projectx.connection.auth import TokenSource

if TYPE_CHECKING:
    from trio_projectx.connection.rest import RestClient

_log = logging.getLogger("trio_projectx")
_NO_SUCH_ROUTE: Final = (404, 405)


class WireAccount(msgspec.Struct):
    """An account as the service describes it (GATEWAY.md section 1.2)."""

    id: int
    name: str | None = None
    balance: float | None = None
    canTrade: bool | None = None  # noqa: N815  the wire's names
    isVisible: bool | None = None  # noqa: N815
    simulated: bool | None = None


class Accounts(msgspec.Struct):
    """The answer of ``Account/search``, less its envelope."""

    accounts: list[WireAccount] | None = None


@attrs.frozen(slots=True)
class AccountDirectory:
    """Finds accounts; asks the service one thing each time, and keeps nothing."""

    rest: RestClient = attrs.field(repr=False)
    tokens: TokenSource

    async def ids(self, account_id: int | None = None) -> tuple[int, ...]:
        """Return the account that is meant, if it is yours; for None, all that are active.

        A hub acknowledges a subscription to anybody's account, and then sends nothing: a wrong number is found here or
        never.

        :raises ConfigError: if it is not one of yours, or there is none.
        :raises TrioProjectXError: as `RestClient`.
        """
        if account_id is None:
            return await self._active()
        check_account(account_id)
        try:
            found = await self._search(active=False)
        except GatewayError as exc:
            if exc.code not in _NO_SUCH_ROUTE:
                raise
            _log.warning(
                "the service has no account search; assuming that %d is an account of yours",
                account_id,
                extra=fields("account_assumed"),
            )
            return (account_id,)
        if all(account.id != account_id for account in found):
            raise ConfigError(f"{account_id} is no account of yours; these are: {_shown(found) or 'none'}")
        return (account_id,)

    async def _active(self) -> tuple[int, ...]:
        found = await self._search(active=True)
        if not found:
            raise ConfigError("the service lists no active account of yours; name one by its number")
        return tuple(dict.fromkeys(account.id for account in found))

    async def _search(self, *, active: bool) -> list[WireAccount]:
        async def ask(token: str) -> list[WireAccount]:
            return await self.rest.search_accounts(token, active=active)

        return await self.tokens.using(ask)


def _shown(accounts: list[WireAccount]) -> str:
    shown = [f"{account.id} ({escape(account.name or 'no name', 40)})" for account in accounts[:10]]
    return ", ".join(shown) + (", ..." if len(accounts) > 10 else "")


def check_account(account_id: object) -> None:
    """Refuse what is no number of an account, as far as can be seen without the service.

    :raises ConfigError: with a sentence.
    """
    if isinstance(account_id, bool) or not isinstance(account_id, int):
        raise ConfigError(f"an account is named by its number, not by {account_id!r:.40}")
