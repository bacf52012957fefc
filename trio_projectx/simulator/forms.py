"""The bodies of REST requests: their fields, and what becomes of one that does not fit (GATEWAY.md 1.1)."""

from __future__ import annotations

import datetime
import re
from typing import Final, TypeVar

import msgspec

from trio_projectx._redact import escape
from trio_projectx.simulator.http import Request

Form = TypeVar("Form", bound=msgspec.Struct)

_JSON: Final = re.compile(r"(?:application|text)/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_INSTANT: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_EPOCH_DAY: Final = datetime.date(1970, 1, 1).toordinal()


class UnsupportedMediaType(Exception):
    """The body says that it is something other than JSON."""


class LoginKey(msgspec.Struct, rename="camel"):
    """``Auth/loginKey``."""

    user_name: str
    api_key: str


class LoginApp(msgspec.Struct, rename="camel"):
    """``Auth/loginApp``."""

    user_name: str
    password: str
    device_id: str = ""
    app_id: str = ""
    verify_key: str = ""


class SearchAccounts(msgspec.Struct, rename="camel"):
    """``Account/search``."""

    only_active_accounts: bool


class SearchContracts(msgspec.Struct, rename="camel"):
    """``Contract/search``."""

    live: bool
    search_text: str | None = None


class ContractById(msgspec.Struct, rename="camel"):
    """``Contract/searchById``."""

    contract_id: str


class AvailableContracts(msgspec.Struct, rename="camel"):
    """``Contract/available``."""

    live: bool


class RetrieveBars(msgspec.Struct, rename="camel"):
    """``History/retrieveBars``. Without a window (or with its fields misnamed) there is none: no bars."""

    contract_id: str
    live: bool
    unit: int
    unit_number: int
    limit: int
    start_time: str = "0001-01-01T00:00:00Z"
    end_time: str = "0001-01-01T00:00:00Z"
    include_partial_bar: bool = False


class BracketForm(msgspec.Struct, rename="camel"):
    """A leg of a bracket: signed ticks from the fill."""

    ticks: int
    type: int


class PlaceOrder(msgspec.Struct, rename="camel"):
    """``Order/place``."""

    account_id: int
    contract_id: str
    type: int
    side: int
    size: int
    limit_price: float | None = None
    stop_price: float | None = None
    trail_price: float | None = None
    custom_tag: str | None = None
    stop_loss_bracket: BracketForm | None = None
    take_profit_bracket: BracketForm | None = None


class ModifyOrder(msgspec.Struct, rename="camel"):
    """``Order/modify``; None leaves as it is."""

    account_id: int
    order_id: int
    size: int | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    trail_price: float | None = None


class OneOrder(msgspec.Struct, rename="camel"):
    """``Order/cancel``, ``Order/searchById``."""

    account_id: int
    order_id: int


class OfAccount(msgspec.Struct, rename="camel"):
    """``Order/searchOpen``, ``Position/searchOpen``."""

    account_id: int


class InWindow(msgspec.Struct, rename="camel"):
    """``Order/search``, ``Trade/search``. A window whose start is missing (or misnamed) holds nothing."""

    account_id: int
    start_timestamp: str | None = None
    end_timestamp: str | None = None


class OrderFilter(msgspec.Struct, rename="camel"):
    """What ``Order/v2/query`` looks for; None is any."""

    account_id: int
    statuses: list[int] | None = None
    contract_id: str | None = None
    created_after: str | None = None
    created_before: str | None = None


class QueryOrders(msgspec.Struct, rename="camel"):
    """``Order/v2/query``."""

    filter: OrderFilter
    page_size: int = 100
    page_offset: int = 0
    sort_by: int = 0
    sort_direction: int = 0
    include_total_count: bool = False


class OfContract(msgspec.Struct, rename="camel"):
    """``Position/closeContract``."""

    account_id: int
    contract_id: str


class PartOfContract(msgspec.Struct, rename="camel"):
    """``Position/partialCloseContract``."""

    account_id: int
    contract_id: str
    size: int


def read_form(request: Request, form: type[Form]) -> Form:
    """Return the request's body.

    :raises UnsupportedMediaType: if it is declared as anything but JSON (undeclared is taken for it).
    :raises msgspec.MsgspecError: if it is no JSON, a field is missing or has another type (an enum as text).
    """
    kind = request.headers.get("content-type", "application/json")
    if request.body and not _JSON.fullmatch(kind.strip()):
        raise UnsupportedMediaType(escape(kind, 60))
    return msgspec.json.decode(request.body, type=form)


def instant(text: str) -> int:
    """Return a date and time as .NET reads it, in ns since 1970 (exact, any year); without a zone it is UTC.

    :raises msgspec.ValidationError: if it is none.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise msgspec.ValidationError(f"{escape(text, 40)!r} is not a date and time")
    try:
        year, month, day, hour, minute, second, fraction, zone = match.groups(default="")
        days = datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
        time = datetime.time(int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        raise msgspec.ValidationError(f"{escape(text, 40)!r} does not exist") from None
    seconds = days * 86_400 + time.hour * 3600 + time.minute * 60 + time.second - _offset_s(zone)
    return seconds * 10**9 + int(fraction.ljust(9, "0"))


def _offset_s(zone: str) -> int:
    if zone in ("", "Z"):
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
    return -seconds if zone[0] == "-" else seconds
