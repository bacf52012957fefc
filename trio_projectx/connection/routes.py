"""The REST routes this library asks: which limit each counts for, whether it is safe to repeat, what its codes mean."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from trio_projectx._errors import AuthError, ContractError, GatewayError, TrioProjectXError
from trio_projectx.connection.auth import TokenRefused
from trio_projectx.connection.pacer import Lane


class BarsRefused(GatewayError):
    """The service does not give bars of this unit, number or limit; ``code`` is its own (2, 3 or 4)."""


class UnknownContract(GatewayError, ContractError):
    """The service knows no contract of this id: its answer, and the fault of who asked."""


#: retrieveBars' code for a limit it does not take (GATEWAY.md section 1.3).
LIMIT_INVALID: Final = 4
Meaning = tuple[type[TrioProjectXError], str]


@attrs.frozen(slots=True)
class Route:
    """One endpoint below ``/api`` (GATEWAY.md section 1.1)."""

    path: str
    what: str
    """How errors name it."""
    lane: Lane = Lane.OTHER
    is_repeatable: bool = True
    """Whether asking twice does no more than asking once."""
    meanings: Mapping[int, Meaning] = MappingProxyType({})
    """What an ``errorCode`` is raised as; any other is a `GatewayError`."""


_NO_CONTRACT: Final = (UnknownContract, "the service knows no such contract")
_NO_SESSION: Final = (TokenRefused, "the session has ended")

#: By path. Login codes are `answers.LOGIN_ERRORS`, which says more than a type.
ROUTES: Final[Mapping[str, Route]] = MappingProxyType(
    {
        route.path: route
        for route in (
            Route("Auth/loginKey", "login"),
            Route(
                "Auth/validate",
                "validate",
                meanings={1: _NO_SESSION, 2: _NO_SESSION, 3: (TokenRefused, "the token has expired")},
            ),
            Route("Auth/logout", "logout", meanings={1: _NO_SESSION}),
            Route("Account/search", "account search"),
            Route("Contract/search", "contract search"),
            Route("Contract/searchById", "contract by id"),  # its 1 is an answer there: None
            Route("Contract/available", "contracts"),
            Route(
                "History/retrieveBars",
                "bars",
                Lane.HISTORY,
                meanings={
                    1: _NO_CONTRACT,
                    2: (BarsRefused, "it gives no bars of this unit"),
                    3: (BarsRefused, "it gives no bars of this many units"),
                    LIMIT_INVALID: (BarsRefused, "it does not take this limit"),
                },
            ),
            Route("Status/ping", "ping"),
        )
    }
)


def lane_of(path: str) -> Lane:
    """Return the limit a path counts for; any that is not in the table for that of all others."""
    route = ROUTES.get(path)
    return Lane.OTHER if route is None else route.lane


def meaning(path: str, refused: AuthError | GatewayError) -> TrioProjectXError:
    """Return what ``refused`` (of ``success: false``) means on this route; itself if the table has nothing to say."""
    route = ROUTES.get(path)
    if route is None or not isinstance(refused, GatewayError) or refused.code is None:
        return refused
    kind, why = route.meanings.get(refused.code, (None, ""))
    if kind is None:
        return refused
    text = f"{refused}; {why}"
    return kind(text, refused.code, refused.text) if issubclass(kind, GatewayError) else kind(text)
