"""The levels of memory pressure as arithmetic on shares and times handed in: up by steps, back with hysteresis."""

from __future__ import annotations

from typing import Final

import attrs

from trio_projectx._memory import MemoryLevel
from trio_projectx._options import MemoryOptions

#: How much more often it is looked where memory is scarce, or may soon be.
_SOONER: Final = 5
#: Of the share at which TIGHT begins.
_SOON: Final = 0.5


@attrs.define(slots=True)
class Levels:
    """Which level there is. One step at a look, so that what each level gives up is seen before the next one.

    Back it goes when the share has stayed ``back_share`` below the level's threshold for ``calm_s``, again by one step.
    LAST is not left, and not gone to without ``exits``.
    """

    options: MemoryOptions
    level: MemoryLevel = MemoryLevel.NORMAL
    _below_since: float | None = None

    def look(self, share: float, now: float) -> MemoryLevel:
        """Take note of a share (0 to 1) at ``now`` (monotonic seconds), and return the level there is from now on."""
        if self.level is MemoryLevel.LAST:
            return self.level
        following = self.level.step(1)
        if share >= self._threshold(following) and (self.options.exits or following is not MemoryLevel.LAST):
            self.level = following
            self._below_since = None
        elif (
            self.level is MemoryLevel.NORMAL or share >= self._threshold(self.level) - self.options.back_share
        ):
            self._below_since = None
        elif self._below_since is None:
            self._below_since = now
        elif now - self._below_since >= self.options.calm_s:
            self.level = self.level.step(-1)
            self._below_since = now
        return self.level

    def next_look_s(self, share: float | None) -> float:
        """Return when to look again: five times as often where half of what TIGHT begins at is used."""
        every = self.options.look_s
        is_near = share is not None and share >= _SOON * self.options.tight_share
        return every / _SOONER if is_near or self.level is not MemoryLevel.NORMAL else every

    def _threshold(self, level: MemoryLevel) -> float:
        o = self.options
        return (0.0, o.tight_share, o.high_share, o.severe_share, o.last_share)[level.rank]
