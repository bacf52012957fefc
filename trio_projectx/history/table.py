"""Bars of history as an Arrow table: the columns of `BarStream.table()`, and which contract and what source."""

# pyarrow's stubs leave the type parameters of arrays and fields open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import pyarrow as pa

from trio_projectx.bars.chunk import OF_TRADES
from trio_projectx.bars.columns import SCHEMA as LIVE_SCHEMA

SCHEMA: Final = pa.schema([pa.field("contract_id", pa.string()), *LIVE_SCHEMA])
#: What the service's bars do not say (GATEWAY.md section 1.2): null, and never guessed.
UNKNOWN: Final = OF_TRADES


@attrs.define(slots=True)
class PastBar:
    """One bar of history. ``partial``: some of its time was not to be had."""

    contract_id: str
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    trade_date: datetime.date | None
    scheduled: bool = True
    partial: bool = False


def to_table(bars: Sequence[PastBar], told: Mapping[str, str] | None = None) -> pa.Table:
    """Return ``bars`` in their order, with ``told`` as the schema's metadata."""
    size = len(bars)
    columns: dict[str, pa.Array] = {}  # type: ignore[type-arg]
    for field in SCHEMA:
        if field.name in UNKNOWN:
            columns[field.name] = pa.nulls(size, field.type)
        elif field.name in ("source", "synthetic"):
            value = "history" if field.name == "source" else False
            columns[field.name] = pa.array([value] * size, field.type)
        else:
            columns[field.name] = pa.array([getattr(bar, field.name) for bar in bars], field.type)
    return pa.table(columns, schema=SCHEMA.with_metadata(dict(told or {})))
