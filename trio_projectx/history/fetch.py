"""Asking for bars until all of them are there: pages, the tier of the data, repetition, deadlines, progress."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from trio_projectx._errors import GatewayError
from trio_projectx._logs import fields
from trio_projectx._timeframe import NS_PER_SECOND
from trio_projectx.connection.answers import BarsQuestion, WireCandle
from trio_projectx.connection.directory import Instrument
from trio_projectx.connection.pacer import Urgency
from trio_projectx.connection.repeat import repeated
from trio_projectx.connection.routes import LIMIT_INVALID, BarsRefused
from trio_projectx.connection.service import Service
from trio_projectx.connection.sites import Site
from trio_projectx.history.aside import aside
from trio_projectx.history.candles import Candle, Fault, Page, read_page
from trio_projectx.history.paging import Pager, Span
from trio_projectx.history.units import Source

_log: Final = logging.getLogger("trio_projectx")
_PATH: Final = "History/retrieveBars"
#: After an answer without a bar that was shown before.
_DOUBT_S: Final = 1.0
#: How often, at most, it is looked whether bars have moved to the other tier: the account may have changed.
_LOOK_S: Final = 60.0
_WEEK_NS: Final = 7 * 86_400 * NS_PER_SECOND
Ask: TypeAlias = Callable[[BarsQuestion, Urgency], Awaitable[list[WireCandle]]]


class WrongTier(GatewayError):
    """The ``live`` that was asked for shows these credentials no bars, and the other one does.

    The service says nothing of it: a wrong tier is an empty success (GATEWAY.md section 1.3).
    """


@attrs.frozen(slots=True)
class Progress:
    """How far a request for history has come; given after each page, youngest bars first."""

    start: int
    end: int
    reached: int
    """Back to here (int64 ns) everything has come."""
    bars: int
    """Bars of the service's so far."""
    pages: int
    wanted: int | None = None
    """How many bars were asked for, where it was by their count."""

    @property
    def share(self) -> float:
        """Of the time asked for, or of the bars where that is more; from 0 to 1."""
        time = (self.end - self.reached) / max(1, self.end - self.start)
        count = 0.0 if self.wanted is None else self.bars / self.wanted
        return min(1.0, max(time, count))


Tell: TypeAlias = Callable[[Progress], None]
Took: TypeAlias = Callable[[Pager, bool], Awaitable[None]]
"""Is called after each page, with the tier that it is of."""


class Found(Protocol):
    """The service's bars of a time; a `Pager` is one that has come from the service itself."""

    @property
    def candles(self) -> list[Candle]:
        """The bars, oldest first."""
        ...

    @property
    def known_from(self) -> int:
        """Back to where all are there (int64 ns)."""
        ...

    @property
    def pages(self) -> int:
        """How many answers that took."""
        ...

    @property
    def faults(self) -> Counter[Fault]:
        """Bars that were left out, by reason."""
        ...

    @property
    def conflicts(self) -> int:
        """Bars that came in two versions."""
        ...

    @property
    def bad(self) -> list[int]:
        """When those bars open that were left out although they hold trades."""
        ...

    @property
    def has_undated(self) -> bool:
        """Whether there was one of which nobody can say when it opens."""
        ...


class Fetches(Protocol):
    """What `History` asks: a `Fetcher`, or one with a cache before it."""

    @property
    def tier(self) -> bool | None:
        """The ``live`` that has brought bars; None if none has yet."""
        ...

    async def fetch(
        self,
        instrument: Instrument,
        source: Source,
        start_ns: int,
        end_ns: int,
        *,
        count: int | None = None,
        urgency: Urgency = Urgency.BULK,
        tell: Tell | None = None,
    ) -> Found:
        """Return the bars that open in ``[start_ns, end_ns)``, or the youngest ``count`` of them and perhaps more."""
        ...


def asking(service: Service) -> Ask:
    """Return what asks a gateway's service, at the endpoint in use, with its token."""

    async def ask(question: BarsQuestion, urgency: Urgency) -> list[WireCandle]:
        async def at(site: Site) -> list[WireCandle]:
            async def with_token(token: str) -> list[WireCandle]:
                return await site.rest.bars(question, token, urgency)

            return await site.tokens.using(with_token)

        return await service.ask(at)

    return ask


class Fetcher:
    """Fetches the service's bars; one for a gateway, because what it learns of the tier holds for all of them.

    ``live`` None finds out which tier these credentials see: simulated data first, as practice and evaluation
    accounts have it.
    """

    def __init__(self, ask: Ask, *, live: bool | None = None, page_s: float = 120.0) -> None:
        self._ask = ask
        self._page_s = page_s
        self._wish = live
        self._live = bool(live)
        self._is_confirmed = False
        self._looked_at = -math.inf

    @property
    def tier(self) -> bool | None:
        """The ``live`` that has brought bars; None if none has yet."""
        return self._live if self._is_confirmed else None

    @property
    def tier_wanted(self) -> bool | None:
        """That which was asked for, or else has brought bars; None if both are open."""
        return self.tier if self._wish is None else self._wish

    async def fetch(
        self,
        instrument: Instrument,
        source: Source,
        start_ns: int,
        end_ns: int,
        *,
        count: int | None = None,
        urgency: Urgency = Urgency.BULK,
        tell: Tell | None = None,
        took: Took | None = None,
    ) -> Pager:
        """Return the pager that has everything that opens in ``[start_ns, end_ns)``, or the youngest ``count``.

        Each page is asked again while that may help, for two minutes at most with all its waiting for turns. Cancelled,
        it leaves nothing behind; ``took`` is awaited after each page, and may keep it.

        :raises WrongTier: if the tier that was asked for has no bars at all, and the other one has.
        :raises ConnectTimeout: if a page does not come in time.
        :raises TrioProjectXError: as `RestClient.bars`.
        """
        pager = Pager(start_ns, end_ns, count)
        while (span := pager.next) is not None:
            live = self._live
            page = await self._page(instrument, source, span, pager, urgency, live=live)
            if page is None:
                continue
            if page.size:
                self._live, self._is_confirmed = live, True
            elif pager.oldest == end_ns and await self._is_other_tier(
                instrument, source, span, urgency, live=live
            ):
                continue
            await self._taken(pager, page)
            if tell is not None:
                tell(Progress(start_ns, end_ns, pager.known_from, pager.size, pager.pages, count))
            if took is not None:
                await took(pager, live)
        self._log_faults(instrument, pager)
        return pager

    async def _taken(self, pager: Pager, page: Page) -> None:
        doubts = pager.doubts
        pager.take(page)
        if pager.doubts > doubts and pager.next is not None:
            await trio.sleep(_DOUBT_S)

    async def _page(
        self,
        instrument: Instrument,
        source: Source,
        span: Span,
        pager: Pager,
        urgency: Urgency,
        *,
        live: bool,
    ) -> Page | None:
        """Return the answer to ``span``; None if the service does not take its limit, and a smaller one is next."""
        try:
            wire = await self._asked(instrument, source, span, urgency, live=live)
        except BarsRefused as exc:
            if exc.code == LIMIT_INVALID and pager.refuse_limit():
                _log.info(
                    "%s: the service does not give %s bars at once",
                    instrument.contract_id,
                    span.limit,
                    extra=fields("history_limit", contract=instrument.contract_id),
                )
                return None
            raise
        return await aside(lambda: read_page(wire, instrument.grid, source.step_ns), len(wire))

    async def _asked(
        self, instrument: Instrument, source: Source, span: Span, urgency: Urgency, *, live: bool
    ) -> list[WireCandle]:
        question = BarsQuestion(
            instrument.contract_id, source.unit, source.number, span.start, span.end, span.limit, live
        )

        async def once() -> list[WireCandle]:
            return await self._ask(question, urgency)

        # The filling of gaps has a schedule of its own, and says what it failed of each time.
        attempts = 1 if urgency is Urgency.FILL else 8
        return await repeated(_PATH, once, deadline_s=self._page_s, attempts=attempts)

    async def _is_other_tier(
        self, instrument: Instrument, source: Source, span: Span, urgency: Urgency, *, live: bool
    ) -> bool:
        """After an empty answer of tier ``live``: look whether the other one has bars, and take it if that is open.

        Others ask meanwhile, and may find it out first; nothing that they see changes while it is not known. A tier
        that has brought bars is looked behind as well, now and then: the user may have another account by now.
        """
        was, now = self._is_confirmed, trio.current_time()
        if self._live is live and (not was or now >= self._looked_at + _LOOK_S):
            self._looked_at = now if was else self._looked_at
            look = attrs.evolve(span, limit=1)
            found = await self._asked(instrument, source, look, urgency, live=not live)
            if found and was:  # but perhaps only this time is empty here, and the tier is not
                look = attrs.evolve(look, start=span.end - _WEEK_NS)
                found = [] if await self._asked(instrument, source, look, urgency, live=live) else found
            if found and self._wish is not None:
                raise WrongTier(
                    f"bars: live={self._wish} shows these credentials none of {instrument.contract_id}, "
                    f"live={not self._wish} does; leave live at None to have it found out"
                )
            if found and self._live is live and self._is_confirmed is was:
                self._live, self._is_confirmed = not live, True
                level = logging.WARNING if was else logging.INFO
                _log.log(
                    level,
                    "history is that of live=%s: the other tier shows no bars",
                    self._live,
                    extra=fields("history_tier", live=self._live),
                )
        return self._live is not live

    def _log_faults(self, instrument: Instrument, pager: Pager) -> None:
        if pager.faults or pager.conflicts:
            said = ", ".join(f"{fault} {number}" for fault, number in sorted(pager.faults.items()))
            _log.warning(
                "%s: the service's history has bars that were left out (%s) and %s that came in two versions",
                instrument.contract_id,
                said or "none",
                pager.conflicts,
                extra=fields("history_faults", contract=instrument.contract_id),
            )
        if pager.doubts and not pager.is_proven:
            _log.warning(
                "%s: the service does not show a bar any more that it has shown; what is older may be missing",
                instrument.contract_id,
                extra=fields("history_shrank", contract=instrument.contract_id),
            )
