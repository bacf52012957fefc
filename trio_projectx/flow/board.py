"""Where events of connections and data are put up: everybody who has a stream open gets each of them."""

from __future__ import annotations

from collections.abc import Callable

from trio_projectx._events import GatewayEvent
from trio_projectx.flow.stream import Feed

Listener = Callable[[GatewayEvent], None]


class EventBoard:
    """Events go to every open stream at once, without waiting for any: its policy says what is dropped, and counts it.

    A listener is called before the streams get the event.
    """

    def __init__(self) -> None:
        self._feeds: tuple[Feed[GatewayEvent], ...] = ()
        self._listeners: tuple[Listener, ...] = ()
        self._outlasting: tuple[Feed[GatewayEvent], ...] = ()
        self._last: tuple[Callable[[], None], ...] = ()
        self._is_over = False

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with every event from now on."""
        self._listeners = (*self._listeners, listener)

    def before_end(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when the board ends, for what waits to be told."""
        self._last = (*self._last, tell)

    def attach(self, feed: Feed[GatewayEvent], *, outlasts: bool = False) -> None:
        """Give ``feed`` every event from now on.

        One that ``outlasts`` the board is not ended with it, and gets what is told afterwards: its reader knows its
        end.
        """
        if outlasts:
            self._outlasting = (*self._outlasting, feed)
        elif self._is_over:
            feed.end()
        self._feeds = (*self._feeds, feed)

    def detach(self, feed: Feed[GatewayEvent]) -> None:
        """Give it nothing more."""
        self._feeds = tuple(each for each in self._feeds if each is not feed)
        self._outlasting = tuple(each for each in self._outlasting if each is not feed)

    def tell(self, event: GatewayEvent) -> None:
        """Put an event up."""
        for listener in self._listeners:
            listener(event)
        for feed in self._feeds:
            feed.offer(event)

    def end(self) -> None:
        """End all streams: the gateway is closing. Doing it again is nothing."""
        if self._is_over:
            return
        for tell in self._last:
            tell()
        self._is_over = True
        for feed in self._feeds:
            if feed not in self._outlasting:
                feed.end()
