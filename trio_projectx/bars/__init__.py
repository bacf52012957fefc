"""Bars: trades in, bars of several timeframes out, the same code live and over a table.

Pure: nothing here knows trio, opens a socket or reads a clock; the youngest stamp seen is the only time
there is.
"""

from __future__ import annotations

from trio_projectx.bars.aggregate import aggregate
from trio_projectx.bars.anchor import Anchor
from trio_projectx.bars.barset import BarSet
from trio_projectx.bars.builder import BarCounts
from trio_projectx.bars.calendars import market_calendar
from trio_projectx.bars.heikin_ashi import heikin_ashi
from trio_projectx.bars.sessions import Sessions

__all__ = ["Anchor", "BarCounts", "BarSet", "Sessions", "aggregate", "heikin_ashi", "market_calendar"]
