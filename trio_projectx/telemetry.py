"""OpenTelemetry instruments that show what a gateway has counted; the extra ``otel`` brings what this needs.

Everything is counted in plain integers anyhow. These instruments are observable: they read one snapshot when somebody
collects, and cost nothing in between. Names, units and an alerts recipe are in docs/telemetry.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final

import attrs
import trio
from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from trio_projectx._errors import ConfigError
from trio_projectx._logs import fields
from trio_projectx.connection.health import Health
from trio_projectx.gateway import Gateway
from trio_projectx.instruments import INSTRUMENTS, Instrument, Kind, View

_log: Final = logging.getLogger("trio_projectx")
#: Callbacks of one collection come one after the other, and are to show one moment.
_FRESH_S: Final = 0.1
#: How long a thread that collects waits for the loop; then it gets the last snapshot, and its age.
_WAIT_S: Final = 1.0


@contextmanager
def export(gateway: Gateway, meter: Meter | None = None, *, contracts: int = 32) -> Generator[None]:
    """Have ``meter`` show ``gateway`` (or a replay) until the block is left; afterwards its instruments show nothing.

    ``meter`` None is that of the global provider. It may collect in any thread: a snapshot is taken in trio's own,
    and a loop that does not come to it within a second delays nobody further, for the last one is shown then. The first
    ``contracts`` contracts are shown by their ids, all others together as "other".

    :raises ConfigError: if ``contracts`` is not 1 or more.
    """
    if isinstance(contracts, bool) or not isinstance(contracts, int) or contracts < 1:
        raise ConfigError(f"contracts must be a whole number, 1 or more, not {contracts!r:.40}")
    source = _Source(gateway, contracts)
    _create(meter or get_meter("trio_projectx"), source)
    try:
        yield
    finally:
        source.close()


class _Source:
    """Takes snapshots in trio's thread, for callbacks in any."""

    def __init__(self, gateway: Gateway, contracts: int) -> None:
        self._gateway: Gateway | None = gateway
        self._contracts = contracts
        self._home = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        self._is_asked = False
        self._taken_at = 0.0
        self._view: View | None = None
        self._take()

    def close(self) -> None:
        """Show nothing more, and let go of the gateway."""
        self._gateway = self._view = None

    def view(self) -> View | None:
        """Return what is to be shown now; None after the end."""
        if self._gateway is not None and time.monotonic() - self._taken_at >= _FRESH_S:
            if threading.get_ident() == self._home:
                self._take()
            elif not self._is_asked:
                self._ask()
        view = self._view
        return None if view is None else attrs.evolve(view, age_s=time.monotonic() - self._taken_at)

    def _ask(self) -> None:
        """Have one taken in trio's thread. Where it has not come to the last one, it is not asked again."""
        done = threading.Event()

        def take() -> None:
            self._is_asked = False
            self._take()
            done.set()

        self._is_asked = True
        try:
            self._token.run_sync_soon(take)
        except trio.RunFinishedError:
            self.close()
        else:
            done.wait(_WAIT_S)

    def _take(self) -> None:
        gateway = self._gateway
        if gateway is None:
            return
        try:
            self._view = View(gateway.statistics(), _health(gateway), self._contracts)
        except Exception:  # noqa: BLE001  a bug; in `run_sync_soon` it would end the run, for a figure that is shown
            _log.exception("telemetry: no snapshot could be taken", extra=fields("telemetry_failed"))
            return
        self._taken_at = time.monotonic()


def _health(gateway: Gateway) -> Health | None:
    try:
        return gateway.health()
    except ConfigError:  # a replay has none
        return None


def _create(meter: Meter, source: _Source) -> None:
    makers = {
        Kind.COUNTER: meter.create_observable_counter,
        Kind.UP_DOWN: meter.create_observable_up_down_counter,
        Kind.GAUGE: meter.create_observable_gauge,
    }
    for each in INSTRUMENTS:
        makers[each.kind](
            each.name, callbacks=[_callback(each, source)], unit=each.unit, description=each.description
        )


def _callback(instrument: Instrument, source: _Source) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        view = source.view()
        if view is None:
            return []
        return [Observation(value, labels) for value, labels in instrument.read(view)]

    return observe
