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
        self._is_over = False

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with every event from now on."""
        self._listeners = (*self._listeners, listener)

    def attach(self, feed: Feed[GatewayEvent]) -> None:
        """Give ``feed`` every event from now on; there are none after the end."""
        if self._is_over:
            feed.end()
        self._feeds = (*self._feeds, feed)

    def detach(self, feed: Feed[GatewayEvent]) -> None:
        """Give it nothing more."""
        self._feeds = tuple(each for each in self._feeds if each is not feed)

    def tell(self, event: GatewayEvent) -> None:
        """Put an event up."""
        for listener in self._listeners:
            listener(event)
        for feed in self._feeds:
            feed.offer(event)

    def end(self) -> None:
        """End all streams: the gateway is closing."""
        self._is_over = True
        for feed in self._feeds:
            feed.end()
