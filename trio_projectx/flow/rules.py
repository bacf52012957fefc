"""From the limits of a configuration to the validators of one contract."""

from __future__ import annotations

from collections.abc import Callable

from trio_projectx._config import Limits
from trio_projectx._events import DataEvent
from trio_projectx.market import DepthJudge, PriceGrid, QuoteMerger, Validator


def make_validator(
    contract_id: str, grid: PriceGrid, limits: Limits, tell: Callable[[DataEvent], None]
) -> Validator:
    """Return what judges the trades of a contract."""
    return Validator(
        contract_id,
        grid,
        stamp_min_ns=limits.stamp_min_ns,
        stamp_max_ns=limits.stamp_max_ns,
        trade_size_max=limits.trade_size_max,
        rejections_kept=limits.rejections_kept,
        price_band=limits.price_band,
        band_confirm=limits.price_band_confirm,
        stamp_ahead_s=limits.stamp_ahead_s,
        stamp_confirm=limits.stamp_ahead_confirm,
        volume_times=limits.volume_times,
        volume_floor=limits.volume_band_floor,
        tell=tell,
    )


def make_merger(
    contract_id: str, grid: PriceGrid, limits: Limits, tell: Callable[[DataEvent], None]
) -> QuoteMerger:
    """Return what judges and merges its quotes."""
    return QuoteMerger(
        contract_id,
        grid,
        stamp_min_ns=limits.stamp_min_ns,
        stamp_max_ns=limits.stamp_max_ns,
        rejections_kept=limits.rejections_kept,
        crossed=limits.crossed_quotes,
        tell=tell,
    )


def make_judge(
    contract_id: str, grid: PriceGrid, limits: Limits, tell: Callable[[DataEvent], None]
) -> DepthJudge:
    """Return what judges its depth."""
    return DepthJudge(
        contract_id,
        grid,
        stamp_min_ns=limits.stamp_min_ns,
        stamp_max_ns=limits.stamp_max_ns,
        rejections_kept=limits.rejections_kept,
        tell=tell,
    )
