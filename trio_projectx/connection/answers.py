"""What the Gateway's REST side answers, and what an answer means: shapes, refusals, typed errors. No I/O."""

from __future__ import annotations

import datetime
import re
from typing import Final

import attrs
import msgspec

from trio_projectx._errors import AuthError, GatewayError, ProtocolError
from trio_projectx._redact import escape
from trio_projectx.connection.auth import CredentialsRefused, TokenRefused, is_token
from trio_projectx.market import StampError, parse_stamp

#: LoginErrorCode (GATEWAY.md section 1.5).
LOGIN_ERRORS: Final = {
    1: "user not found",
    2: "password verification failed",
    3: "invalid credentials",
    4: "app not found",
    5: "app verification failed",
    6: "invalid device",
    7: "agreements not signed",
    8: "unknown error",
    9: "no API subscription",
    10: "API key authentication is disabled",
}
_UNKNOWN_ERROR: Final = 8
#: 20,000 bars are the most that one answer has (GATEWAY.md section 1.2); braces in texts are counted too.
_OBJECTS: Final = 25_000
_LONG: Final = 64 * 1024
_SECONDS: Final = re.compile("[0-9]{1,9}")


class TryLater(GatewayError):
    """The service has no time now (HTTP 429 or 503). ``retry_after_s`` is how long it asks to wait, or None."""

    def __init__(
        self,
        message: str,
        code: int | None = None,
        text: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code, text)
        self.args = (message, code, text, retry_after_s)  # what `again` and `cleaned` make it anew from
        self.retry_after_s = retry_after_s

    @property
    def holds_all(self) -> bool:
        """Whether it is about every request: too many were sent, or it says itself for how long none is wanted.

        A 503 that does not say so is of the moment, or of one route.
        """
        return self.code == 429 or self.retry_after_s is not None


class Envelope(msgspec.Struct):
    """What stands around every answer."""

    success: bool
    errorCode: int  # noqa: N815  the wire's name
    errorMessage: str | None = None  # noqa: N815


class LoginAnswer(Envelope):
    """Of ``Auth/loginKey``."""

    token: str | None = None


class ValidateAnswer(Envelope):
    """Of ``Auth/validate``."""

    newToken: str | None = None  # noqa: N815


class WireContract(msgspec.Struct):
    """A contract as the service describes it (GATEWAY.md section 1.2)."""

    id: str
    name: str | None = None
    description: str | None = None
    tickSize: float | None = None  # noqa: N815
    tickValue: float | None = None  # noqa: N815
    activeContract: bool = False  # noqa: N815


class ContractsAnswer(Envelope):
    """Of ``Contract/search``."""

    contracts: list[WireContract] = []


class ContractAnswer(Envelope):
    """Of ``Contract/searchById``."""

    contract: WireContract | None = None


class WireBar(msgspec.Struct):
    """What is needed of a bar: when it opens, and how much was traded in it."""

    t: str
    v: int | float | None = None


class BarsAnswer(Envelope):
    """Of ``History/retrieveBars``."""

    bars: list[WireBar] = []


class WireCandle(msgspec.Struct):
    """A bar as it is on the wire (GATEWAY.md section 1.2); whether it is a good one is seen where it is read."""

    t: str
    o: int | float | None = None
    h: int | float | None = None
    l: int | float | None = None  # noqa: E741  the wire's name
    c: int | float | None = None
    v: int | float | None = None


class CandlesAnswer(Envelope):
    """Of ``History/retrieveBars``, whole."""

    bars: list[WireCandle] | None = None


@attrs.frozen(slots=True)
class BarsQuestion:
    """What ``History/retrieveBars`` is asked: bars that open at or after ``start_ns`` and before ``end_ns``.

    ``unit`` is the wire's (1 to 6: second, minute, hour, day, week, month); both times are whole seconds.
    """

    contract_id: str
    unit: int
    number: int
    start_ns: int
    end_ns: int
    limit: int
    live: bool = False

    def body(self) -> dict[str, str | bool | int]:
        """Return the request's body."""
        return {
            "contractId": self.contract_id,
            "live": self.live,
            "startTime": wire_time(self.start_ns),
            "endTime": wire_time(self.end_ns),
            "unit": self.unit,
            "unitNumber": self.number,
            "limit": self.limit,
            "includePartialBar": False,
        }


@attrs.frozen(slots=True)
class Answer:
    """An HTTP answer: the status, the whole (bounded) body, and ``Retry-After`` in seconds if it was given so."""

    status: int
    body: bytes
    retry_after_s: float | None


def check_ping(answer: Answer) -> None:
    """Raise what a ping's answer other than "pong" means."""
    if answer.status == 401:  # not `TokenRefused`: none was sent
        said = "the service wants a login where it should need none (HTTP 401); check the address"
        raise GatewayError(f"ping: {said}", 401, said)
    check_status("ping", answer, login=False)
    if answer.body.strip().strip(b'"') != b"pong":
        raise ProtocolError("ping: the answer is not the Gateway's")


def check_status(what: str, answer: Answer, *, login: bool) -> None:
    """Raise what an HTTP status other than 200 means."""
    status = answer.status
    if status == 200:
        return
    if status == 401 and login:
        raise CredentialsRefused(
            f"{what}: the service refused the credentials (HTTP 401); check user name and API key"
        )
    if status == 401:
        raise TokenRefused(f"{what}: the service refused the token (HTTP 401)")
    text = escape(answer.body[:400].decode("utf-8", "replace"))
    if status == 403:
        kind = CredentialsRefused if login else AuthError
        raise kind(f"{what}: the service forbids this user (HTTP 403): {text or 'no text'}")
    why = "too many requests (HTTP 429)" if status == 429 else f"HTTP {status}: {text or 'no text'}"
    if status not in (429, 503):
        raise GatewayError(f"{what}: {why}", status, text)
    wait_s = answer.retry_after_s
    wait = "" if wait_s is None else f"; it asks to wait {wait_s:g} s"
    raise TryLater(f"{what}: {why}{wait}", status, text, wait_s)


def checked_token(what: str, token: str | None) -> str:
    """Return ``token`` if it can be sent; a text with a line break would be an error far from here."""
    if not token:
        raise ProtocolError(f"{what}: the service answered success without a token; try again later")
    if not is_token(token):
        raise ProtocolError(f"{what}: the service's token holds a character that no token has")
    return token


def refusal(what: str, envelope: Envelope, *, login: bool) -> AuthError | GatewayError:
    """Return what ``success: false`` means."""
    text, code = escape(envelope.errorMessage or ""), envelope.errorCode
    if not login or code == _UNKNOWN_ERROR:  # that one says nothing about the credentials
        return GatewayError(f"{what} refused: errorCode {code} {text}".rstrip(), code, text)
    # Not a TokenRefused: a fresh login is what has just been tried.
    meaning, extra = LOGIN_ERRORS.get(code, "unknown error"), f": {text}" if text else ""
    kind = CredentialsRefused if code in LOGIN_ERRORS else AuthError
    return kind(f"login refused: {meaning} (errorCode {code}){extra}; check user name and API key")


def seconds(header: str | None) -> float | None:
    """Return the value of a ``Retry-After`` in seconds; None for any other form."""
    return float(header) if header is not None and _SECONDS.fullmatch(header) else None


def check_size(what: str, body: bytes) -> None:
    """Refuse an answer of more objects than the service's longest has, before it is decoded.

    A bar is four times its text when it is decoded, and more where it is judged and folded.

    :raises ProtocolError: if there are too many.
    """
    if len(body) > _LONG and body.count(b"{") > _OBJECTS:
        raise ProtocolError(
            f"{what}: the answer holds more objects than the Gateway's longest has ({_OBJECTS})"
        )


def wire_time(ts_ns: int) -> str:
    """Return the second in which int64 nanoseconds lie, as the service reads it."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 1_000_000_000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def newest_ns(bars: list[WireBar]) -> int | None:
    """Return the latest open time (int64 ns) of those bars in which anything was traded; None if there is none.

    :raises ProtocolError: if a stamp is none.
    """
    try:
        return max((parse_stamp(bar.t) for bar in bars if bar.v is not None and bar.v > 0), default=None)
    except StampError as exc:
        raise ProtocolError(f"bars: the service sent a time that is none: {exc}") from exc
