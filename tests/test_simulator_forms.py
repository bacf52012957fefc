from __future__ import annotations

import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator.forms import LoginKey, PlaceOrder, UnsupportedMediaType, instant, read_form
from trio_projectx.simulator.http import Request

GOOD = b'{"userName":"u","apiKey":"k","more":[1]}'


def request(body: bytes, kind: str | None = "application/json") -> Request:
    return Request("POST", "/x", {}, {} if kind is None else {"content-type": kind}, body)


@pytest.mark.parametrize(
    "kind", ["application/json", "text/json; charset=utf-8", "application/problem+json", "APPLICATION/JSON", None]
)  # fmt: skip
def test_json_by_any_of_its_names(kind: str | None) -> None:
    assert read_form(request(GOOD, kind), LoginKey) == LoginKey("u", "k")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_what_says_that_it_is_something_else_is_not_read(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        read_form(request(GOOD, kind), LoginKey)


def test_a_body_that_is_not_there_is_no_matter_of_its_type() -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_form(request(b"", "text/plain"), LoginKey)


@pytest.mark.parametrize("field", ["type", "side", "size", "accountId"])
@pytest.mark.parametrize("value", ['"2"', "2.5", "null", "true", "[]"])
def test_a_number_is_a_number(field: str, value: str) -> None:
    body = {"accountId": "1", "contractId": '"C"', "type": "2", "side": "0", "size": "1", field: value}
    text = ",".join(f'"{name}":{shown}' for name, shown in body.items())
    with pytest.raises(msgspec.ValidationError, match="Expected"):
        read_form(request(f"{{{text}}}".encode()), PlaceOrder)


@given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)), st.integers(0, 999))
def test_instants_are_exact_in_every_year(when: datetime.datetime, nanos: int) -> None:
    since = when.replace(microsecond=0) - datetime.datetime(1970, 1, 1)
    text = f"{when:%m-%dT%H:%M:%S}.{when.microsecond:06d}{nanos:03d}"
    expected = (since.days * 86_400 + since.seconds) * 10**9 + when.microsecond * 1000 + nanos
    assert instant(f"{when.year:04d}-{text}Z") == expected


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01", 0), ("1970-01-01T00:00", 0), ("1970-01-01T00:00:01", 10**9),
        ("1970-01-01T00:00:00.5Z", 5 * 10**8), ("1970-01-01T01:30:00+01:30", 0),
        ("1969-12-31T19:00:00-05:00", 0), ("1970-01-01T00:00:00.1234567890123Z", 123_456_789),
    ],
)  # fmt: skip
def test_forms_of_an_instant(text: str, ns: int) -> None:
    assert instant(text) == ns


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-02-30", "2026-13-01", "2026-01-01 00:00", "2026-01-01T24:00Z", "1787172660", "0000-01-01"],
)  # fmt: skip
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        instant(text)
