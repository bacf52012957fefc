"""``trio-projectx doctor``: one step after the other from the configuration to the first bar, each with a sentence."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Final

import attrs
import trio

import trio_projectx as px
from trio_projectx._config import mixed_addresses
from trio_projectx.cli.doctor_view import DoctorView
from trio_projectx.cli.findings import Finding, Findings, Verdict, session_sentence
from trio_projectx.cli.history_view import new_console
from trio_projectx.cli.network_checks import check_network, check_service
from trio_projectx.connection.health import ClockHealth
from trio_projectx.flow.background import open_background_tasks
from trio_projectx.machine import reader_of
from trio_projectx.pressure.asking import ask
from trio_projectx.pressure.checks import check_limits

#: The exit code where a check has failed: for scripts.
FAILED: Final = 3
_SOON_S: Final = 900.0
_SLOW_NS: Final = 100_000_000
_MS: Final = 1e6


@attrs.frozen(slots=True, kw_only=True)
class DoctorCommand:
    """What the command line asked for."""

    contract: str
    seconds: float
    url: str | None
    as_json: bool

    def __attrs_post_init__(self) -> None:
        if not 0 < self.seconds <= 86_400:
            raise px.ConfigError(f"--seconds must be above 0, and a day at most, not {self.seconds:g}")


async def run_doctor(command: DoctorCommand) -> int:
    """Look at everything and return the exit code: 0 if no check failed."""
    view = None if command.as_json else DoctorView(new_console())
    findings = Findings(_nothing if view is None else view.show)
    try:
        await examine(command, findings)
    except px.MemoryExhausted as exc:
        findings.failed("memory", exc)
        _conclude(view, findings)  # what was found so far; the exit code is that of the lack of memory
        raise
    _conclude(view, findings)
    return 0 if findings.is_well else FAILED


def _conclude(view: DoctorView | None, findings: Findings) -> None:
    if view is None:
        sys.stdout.write(json.dumps(findings.as_json(), indent=2) + "\n")
    else:
        view.conclude(findings)


def _nothing(finding: Finding) -> None:
    """It is printed at the end."""


async def examine(command: DoctorCommand, findings: Findings) -> None:
    """Look, as far as it makes sense: what needs something that failed is not tried."""
    try:
        config = (
            px.GatewayConfig.from_env() if command.url is None else px.GatewayConfig.simulated(command.url)
        )
    except px.ConfigError as exc:
        findings.failed("config", exc)
        return
    where = "the environment" if command.url is None else "a simulator's"
    findings.add("config", Verdict.OK, f"credentials and endpoints are {where}; secrets are not shown")
    mixed = mixed_addresses(os.environ) if command.url is None else None
    if mixed is not None:
        findings.add("config", Verdict.WARN, mixed)
    if not await check_network(config, findings) or not await check_service(config, findings):
        return
    began, step = trio.current_time(), "login"
    try:
        # It looks at the whole set of limits first.
        async with px.open_gateway(config) as gateway:
            findings.add(step, Verdict.OK, "the service took the credentials", trio.current_time() - began)
            step = "gateway"
            await _examine(config, gateway, command, findings)
            step = "closing"
    except px.ConfigError as exc:
        findings.failed("limits", exc)
    except px.MemoryExhausted:
        raise  # it has an exit code of its own
    except px.TrioProjectXError as exc:
        findings.failed(step, exc)


async def _examine(
    config: px.GatewayConfig, gateway: px.Gateway, command: DoctorCommand, findings: Findings
) -> None:
    _check_token(gateway, findings)
    _check_memory(config, gateway, findings)
    began = trio.current_time()
    try:
        await gateway.wait_connected()
    except px.MemoryExhausted:
        raise
    except px.TrioProjectXError as exc:
        findings.failed("market hub", exc)
        return
    findings.add("market hub", Verdict.OK, "connected", trio.current_time() - began)
    await _check_user_hub(gateway, findings)
    try:
        await _stream(gateway, command, findings)
    except px.MemoryExhausted:
        raise
    except px.TrioProjectXError as exc:
        findings.failed("data", exc)
    machine = gateway.health().machine
    for sentence in machine.troubles:
        findings.add("machine", Verdict.WARN, sentence)
    counted = findings.counted = findings.counted or gateway.statistics()
    _check_clock(gateway.health().clock, findings)
    _check_speed(counted, findings)
    _check_ledger(counted, findings)


def _check_token(gateway: px.Gateway, findings: Findings) -> None:
    left = gateway.health().token.expires_in_s
    if left is None:
        findings.add("token", Verdict.WARN, "the token does not say when it ends, and is renewed by its age")
        return
    verdict = Verdict.OK if left > _SOON_S else Verdict.WARN
    findings.add("token", verdict, f"it lives for {left / 3600:.1f} h more, and is renewed before that")


def _check_memory(config: px.GatewayConfig, gateway: px.Gateway, findings: Findings) -> None:
    for sentence in check_limits(config, ask(reader_of(config))[0], config.wall_clock()).warnings:
        findings.add("limits", Verdict.WARN, sentence)
    memory = gateway.health().machine.memory
    verdict = Verdict.SKIP if memory.level is None else Verdict.OK if memory.is_well else Verdict.WARN
    findings.add("memory", verdict, memory.sentence)


async def _check_user_hub(gateway: px.Gateway, findings: Findings) -> None:
    began = trio.current_time()
    try:
        async with gateway.open_user_events(overflow=px.Overflow.DROP_OLDEST):
            taken = trio.current_time() - began
            findings.add(
                "user hub", Verdict.OK, "connected, and the accounts' events are subscribed to", taken
            )
    except px.ConfigError as exc:  # there is no account
        findings.add("user hub", Verdict.SKIP, str(exc))
    except px.MemoryExhausted:
        raise
    except px.TrioProjectXError as exc:
        findings.failed("user hub", exc)


@attrs.define(slots=True)
class _First:
    """When the first of each came, from the subscription on; None until then."""

    began: float
    trade_s: float | None = None
    quote_s: float | None = None


async def _stream(gateway: px.Gateway, command: DoctorCommand, findings: Findings) -> None:
    began, drop = trio.current_time(), px.Overflow.DROP_OLDEST
    async with (
        gateway.open_bars(command.contract, "1s", "1m", overflow=drop) as bars,
        gateway.open_trades(command.contract, overflow=drop) as trades,
        gateway.open_quotes(command.contract) as quotes,
    ):
        taken = trio.current_time() - began
        findings.add(
            "subscribe", Verdict.OK, f"{bars.contract_id}: trades and quotes are subscribed to", taken
        )
        first = _First(trio.current_time())
        with trio.move_on_after(command.seconds):
            async with open_background_tasks("doctor") as tasks:
                tasks.start_soon(_read_quotes, quotes, first)
                tasks.start_soon(_drain, bars)
                async for item in trades:
                    if first.trade_s is None and isinstance(item, px.Trade):
                        first.trade_s = trio.current_time() - first.began
        findings.counted = gateway.statistics()
        _check_data(gateway, bars.contract_id, command.seconds, first, findings)


async def _read_quotes(quotes: px.Stream[px.Quote | px.Dropped], first: _First) -> None:
    async for _ in quotes:
        if first.quote_s is None:
            first.quote_s = trio.current_time() - first.began


async def _drain(bars: px.BarStream[px.Bar | px.Dropped]) -> None:
    async for _ in bars:
        pass


def _check_data(
    gateway: px.Gateway, contract_id: str, seconds: float, first: _First, findings: Findings
) -> None:
    is_open, hours = session_sentence(contract_id, time.time_ns())
    for what, came_s in (("first trade", first.trade_s), ("first quote", first.quote_s)):
        if came_s is not None:
            findings.add(what, Verdict.OK, "it came", came_s)
            continue
        verdict = Verdict.SKIP if is_open is False else Verdict.WARN
        findings.add(what, verdict, f"none came within {seconds:g} s: {hours}")
    state = gateway.health().market
    verdict = Verdict.OK if state.state is px.HubState.LIVE else Verdict.WARN
    findings.add("stream", verdict, f"the market hub is {state.state.value} ({state.reason})")


def _check_clock(clock: ClockHealth, findings: Findings) -> None:
    kept = {
        None: "nobody knows whether it is kept right",
        True: "it is kept right",
        False: "nothing keeps it right",
    }
    said = kept[clock.is_synchronised]
    if clock.skew_ms is None:
        findings.add("clock", Verdict.SKIP, f"no data say how far ours is off; as the system says, {said}")
        return
    verdict = Verdict.WARN if clock.is_skewed else Verdict.OK
    side = "behind" if clock.skew_ms < 0 else "ahead of"
    ahead = f"ours is {abs(clock.skew_ms):.0f} ms {side} the data's stamps, their way here included"
    findings.add("clock", verdict, f"{ahead}; as the system says, {said}")


def _check_speed(counted: px.GatewayStatistics, findings: Findings) -> None:
    wire, loop, trip = counted.latency.wire_to_bar, counted.loop, counted.round_trip_s
    if trip is not None:
        findings.add("round trip", Verdict.OK if trip < 1 else Verdict.WARN, "by WebSocket ping", trip)
    if not wire.count:
        findings.add("latency", Verdict.SKIP, "no trade came that could be timed")
    else:
        spread = f"p50 {wire.p50 / _MS:.2f} ms, p99 {wire.p99 / _MS:.2f} ms, at most {wire.max / _MS:.2f} ms"
        verdict = Verdict.OK if wire.p99 < _SLOW_NS else Verdict.WARN
        findings.add("latency", verdict, f"from the wire to the bar, of {wire.count:,} batches: {spread}")
    if loop is not None and loop.lifetime.count:
        late = loop.lifetime.max
        verdict = Verdict.OK if late < _SLOW_NS else Verdict.WARN
        findings.add("loop", verdict, f"a task was woken {late / _MS:.1f} ms late at most")


def _check_ledger(counted: px.GatewayStatistics, findings: Findings) -> None:
    if counted.ledger.balanced:
        findings.add("ledger", Verdict.OK, "every trade and every item is accounted for")
    else:
        broken = ", ".join(row.name for row in counted.ledger.broken)
        findings.add("ledger", Verdict.FAIL, f"not accounted for: {broken}; please report this")
