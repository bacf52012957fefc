"""The options of ``open_bars``: what each may be, and which of them cannot be honoured together."""

from __future__ import annotations

import math
from typing import TypedDict

import attrs

from trio_projectx._errors import ConfigError, TimeframeError
from trio_projectx._timeframe import BarKind, Timeframe
from trio_projectx.bars import Anchor, Sessions
from trio_projectx.bars.policies import Fill, Late, check_late_and_fill, check_outside
from trio_projectx.bars.session_edges import Outside
from trio_projectx.market import ContractId


class BarOptions(TypedDict, total=False):
    """Policies of `Gateway.open_bars`, for what a bar set does with trades and gaps (see `BarSet`)."""

    outside: Outside
    """Trades in closed hours: "own" bars (the default), "attach" to the next session, or "drop"."""
    late: Late
    """Trades whose bar is final: "count" them (the default), or "revise" the bar, told by `BarRevised`."""
    fill: Fill
    """"previous" gives synthetic bars where nobody traded in scheduled hours; None, the default, gives none."""
    skip_first: bool
    """Leave out of the stream the bars that were not seen whole; the table has them, marked ``partial``."""


def update_interval(updates: object) -> float | None:
    """Return how many seconds lie between two looks at forming bars at least; None for no looks.

    :raises ConfigError: for what is neither None, "every" nor seconds above 0.
    """
    if updates is None or updates == "every":
        return None if updates is None else 0.0
    if isinstance(updates, bool) or not isinstance(updates, (int, float)) or not 0 < updates < math.inf:
        raise ConfigError(f'updates= must be None, "every" or seconds above 0, not {updates!r:.40}')
    return float(updates)


@attrs.frozen(slots=True)
class BarPolicy:
    """`BarOptions` with nothing left open."""

    outside: Outside = "own"
    late: Late = "count"
    fill: Fill = None
    skip_first: bool = False


def bar_policy(options: BarOptions, *, events: bool) -> BarPolicy:
    """Check the options.

    :raises ConfigError: for values that are none, or that need another option.
    :raises TypeError: for an option that there is not.
    """
    unknown = set(options) - {field.name for field in attrs.fields(BarPolicy)}
    if unknown:
        raise TypeError(f"open_bars() got an unexpected keyword argument {min(unknown)!r}")
    policy = BarPolicy(**options)
    check_outside(policy.outside)
    if not isinstance(policy.skip_first, bool) or not isinstance(events, bool):
        raise ConfigError("skip_first and events must be True or False")
    if policy.late == "revise" and not events:
        raise ConfigError('late="revise" needs events=True: a bar that changes must be told')
    return policy


def check_history(history: object, frames: tuple[Timeframe, ...], most: int) -> None:
    """Refuse a count of bars that is none, or that could not be kept, and kinds of bars that the service has none of.

    :raises ConfigError: (`TimeframeError`) with a sentence.
    """
    if isinstance(history, bool) or not isinstance(history, int) or not 0 <= history <= most:
        raise ConfigError(
            f"history= must be a whole number of bars from 0 to limits.bars_kept ({most}), not {history!r:.40}"
        )
    kinds = [frame for frame in frames if isinstance(frame, BarKind)]
    if history and kinds:
        raise TimeframeError(
            f'there is no history of "{kinds[0]}" bars: the service has none, nor its trades'
        )


def check_anchor(anchor: Anchor | None, frames: tuple[Timeframe, ...], policy: BarPolicy) -> None:
    """Refuse what an anchor does not offer, before anything is asked of the service.

    :raises ConfigError: (`TimeframeError`) with a sentence.
    """
    chosen = (
        Anchor.session(Sessions.cme("EQ")) if anchor is None else anchor
    )  # of the product's kind at least
    if not isinstance(chosen, Anchor):
        raise ConfigError(f"anchor must be an Anchor such as Anchor.utc(), not {anchor!r:.40}")
    check_late_and_fill(policy.late, policy.fill, chosen, frames)
    for frame in frames:
        if not isinstance(frame, BarKind):
            chosen.edges(frame)


def session_of(contract_id: str) -> Anchor:
    """Return the session anchor of a contract's product.

    :raises ConfigError: if no sessions are known for it.
    """
    return Anchor.session(Sessions.for_product(ContractId.parse(contract_id).product))
