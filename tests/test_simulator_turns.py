"""Binding of arguments as .NET does it, and upload streams by themselves."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.simulator.turns import BindingError, HubError, Upload, integer, only, take, text, wrapped


@pytest.mark.parametrize(
    "raw", ["1.0", "1e0", '"1"', "true", "null", "[]", "2147483648", "-2147483649", "9" * 9999]
)
def test_what_is_no_int(raw: str) -> None:
    with pytest.raises(BindingError):
        integer(raw)


def test_what_is_an_int() -> None:
    assert [integer(raw) for raw in ("0", "-0", "2147483647", "-2147483648")] == [0, 0, 2**31 - 1, -(2**31)]
    assert integer("9223372036854775807", bits=64) == 2**63 - 1


def test_a_string_may_be_null() -> None:
    assert text("null") is None
    assert text('"a\\u0041"') == "aA"
    for raw in ("1", "[]", "true"):
        with pytest.raises(BindingError):
            text(raw)


def test_the_number_of_arguments_counts() -> None:
    assert only(("1",)) == "1"
    with pytest.raises(BindingError):
        take(("1", "2"), 1)


@given(st.integers(-(2**40), 2**40))
def test_it_wraps_as_int32(value: int) -> None:
    assert -(2**31) <= wrapped(value) < 2**31
    assert (wrapped(value) - value) % 2**32 == 0


async def test_an_upload_is_bounded(autojump_clock: object) -> None:
    upload, put = Upload(), 0
    with trio.move_on_after(1) as scope:
        while True:
            await upload.put("1")
            put += 1
    assert scope.cancelled_caught
    assert put == 10
    upload.end(None)
    assert await upload.sum() == 10


async def test_an_upload_that_ends_with_an_error_raises_it() -> None:
    upload = Upload()
    assert await upload.put("3")
    assert not await upload.put('"three"')
    with pytest.raises(HubError, match="Failed to bind Stream message"):
        await upload.sum()


async def test_what_comes_after_the_method_is_over_goes_nowhere() -> None:
    upload = Upload()
    upload.close()
    assert not await upload.put("1")
