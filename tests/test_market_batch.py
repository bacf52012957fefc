from __future__ import annotations

import attrs
import pytest

from trio_projectx.market.batch import TradeBatch


def test_its_length_is_that_of_its_columns() -> None:
    assert len(TradeBatch("C", [1, 2], [3, 4], [5, 6], [0, 1], 7)) == 2


def test_its_fields_cannot_be_replaced_and_it_is_equal_to_itself_only() -> None:
    batch = TradeBatch("C", [1], [3], [5], [0], 7)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        batch.ts_recv = 8  # type: ignore[misc]
    assert batch != TradeBatch("C", [1], [3], [5], [0], 7)
    assert batch == batch
