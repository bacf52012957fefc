from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import TimeframeError
from trio_projectx._timeframe import Timeframe


@pytest.mark.parametrize(
    ("label", "step_ns"),
    [("1s", 10**9), ("5m", 300 * 10**9), ("4h", 14400 * 10**9), ("1d", None), ("2w", None), ("3M", None)],
)
def test_a_label_is_taken_apart(label: str, step_ns: int | None) -> None:
    timeframe = Timeframe(label)
    assert (timeframe, timeframe.n, timeframe.unit, timeframe.step_ns) == (
        label,
        int(label[:-1]),
        label[-1],
        step_ns,
    )
    assert Timeframe(timeframe) is timeframe
    assert {timeframe: 1}[label] == 1  # type: ignore[index]
    for clone in (pickle.loads(pickle.dumps(timeframe)), copy.deepcopy(timeframe)):  # noqa: S301
        assert (clone, clone.n, clone.unit) == (timeframe, timeframe.n, timeframe.unit)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "m",
        "0m",
        "05m",
        "-1m",
        "1.5m",
        "1 m",
        " 1m",
        "1m\n",
        "1x",
        "1D",
        "1ms",
        "٣m",
        "123456s",
        "1m5s",
        None,
        5,
    ],
)
def test_anything_else_is_refused_with_a_sentence(label: object) -> None:
    with pytest.raises(TimeframeError, match="write a whole number and one of"):
        Timeframe(label)  # type: ignore[arg-type]


@given(st.integers(1, 99999), st.sampled_from("smhdwM"))
def test_every_legal_label_is_its_own_text(n: int, unit: str) -> None:
    assert str(Timeframe(f"{n}{unit}")) == f"{n}{unit}"
