"""The session cases of tests/data/signalr_cases.json, played against a `HubSession` on a virtual clock.

The driver plays the network and the user: it carries out the actions, keeps what was told, and lets virtual
milliseconds pass only where a step has to wait for something.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trio_projectx.signalr import (
    UNSET,
    Action,
    CallCompleted,
    Called,
    CallFailed,
    Closed,
    CloseTransport,
    HubSession,
    OpenTransport,
    Reconnected,
    Reconnecting,
    SendText,
    Started,
    StartFailed,
)

CASES: list[dict[str, Any]] = [
    case
    for case in json.loads(
        (Path(__file__).parent / "data" / "signalr_cases.json").read_text(encoding="utf-8")
    )["cases"]
    if case["level"] == "session"
]
LONGEST_WAIT_MS = 60_000


class Driver:
    def __init__(self) -> None:
        self.session = HubSession()
        self.now_ms = 0
        self.epoch = 0
        self.transport_open = False
        self.reopen_fails = False
        self.handlers: dict[str, dict[str, Any]] = {}
        self.sent: list[str] = []
        self.told: list[Action] = []
        self.closed_by_us = 0
        self.ids: dict[str, str] = {}
        self.calls: dict[str, str] = {}

    # -- the network and the clock

    @property
    def now(self) -> float:
        return self.now_ms / 1000

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case OpenTransport():
                    self.open(action.epoch)
                case SendText():
                    assert self.transport_open
                    assert action.epoch == self.epoch
                    self.sent.append(action.text)
                case CloseTransport():
                    assert action.epoch == self.epoch
                    self.transport_open = False
                    self.closed_by_us += 1
                case Called():
                    self.handle(action)
                case _:
                    self.told.append(action)

    def open(self, epoch: int) -> None:
        self.epoch = epoch
        self.transport_open = not self.reopen_fails
        if self.transport_open:
            self.carry_out(self.session.transport_opened(epoch, self.now))
        else:
            self.carry_out(self.session.transport_lost(epoch, "refused", self.now))

    def handle(self, called: Called) -> None:
        handler = self.handlers[called.invocation.target.casefold()]
        if "raises" not in handler and called.invocation.invocation_id is None:
            self.told.append(called)  # the others are seen by what they do: an answer, or nothing
        if called.invocation.invocation_id is None:
            return
        self.carry_out(
            self.session.answer(
                called.epoch,
                called.invocation.invocation_id,
                handler.get("returns", UNSET),
                handler.get("raises"),
                now=self.now,
            )
        )

    def fire_due(self) -> None:
        while self.session.next_deadline <= self.now:
            before = self.session.next_deadline
            self.carry_out(self.session.timer_fired(self.now))
            assert self.session.next_deadline != before, "a timer that fired must move"

    def pass_time(self, ms: int) -> None:
        end = self.now_ms + ms
        while (deadline_ms := self.session.next_deadline * 1000) <= end:
            self.now_ms = max(math.ceil(deadline_ms), self.now_ms)
            self.fire_due()
        self.now_ms = end

    def until(self, kind: type[Action] | tuple[type[Action], ...]) -> Action:
        """Return the next thing told of ``kind``, letting time pass for it if need be."""
        for _ in range(LONGEST_WAIT_MS):
            for index, action in enumerate(self.told):
                if isinstance(action, kind):
                    del self.told[index]
                    return action
            self.pass_time(1)
        raise AssertionError(f"{kind} was never told; told: {self.told}, {self.session.statistics()}")

    def count(self, kind: type[Action]) -> int:
        return sum(isinstance(action, kind) for action in self.told)

    # -- the steps

    def step_start(self, options: dict[str, Any]) -> None:
        delays = options.get("reconnect")
        timeout_s = options.get("server_timeout_ms", 30_000) / 1000
        self.session = HubSession(
            reconnect=None if delays is None else [ms / 1000 for ms in delays],
            server_timeout_s=timeout_s,
            # The official JavaScript client has one timeout for both.
            handshake_timeout_s=min(15.0, timeout_s),
            keep_alive_s=options.get("keep_alive_ms", 15_000) / 1000,
        )
        for target in self.handlers:
            self.session.on(target)
        self.carry_out(self.session.start())

    def step_on(self, handler: dict[str, Any]) -> None:
        self.handlers[handler["target"].casefold()] = handler
        self.session.on(handler["target"])

    def step_sent(self, expected: dict[str, Any]) -> None:
        self.fire_due()
        record = self.next_sent(skip_pings=expected != {"type": 6})
        if "invocationId" in expected and expected["type"] in (1, 4):
            self.ids[expected["invocationId"]] = record["invocationId"]
            expected = {**expected, "invocationId": record["invocationId"]}
        if expected.get("error", "").startswith("Error: "):
            # "any non-empty error text conforms", says the note of the case that has such a text.
            assert record["error"]
            expected = {**expected, "error": record["error"]}
        assert record == expected

    def next_sent(self, *, skip_pings: bool) -> dict[str, Any]:
        while True:
            assert self.sent, "nothing was sent"
            text = self.sent.pop(0)
            assert text.count("\x1e") == 1
            assert text.endswith("\x1e")
            record: dict[str, Any] = json.loads(text[:-1])
            if not (skip_pings and record == {"type": 6}):
                return record

    def step_nothing_sent(self, ms: int) -> None:
        self.pass_time(ms)
        assert self.sent == []

    def step_recv(self, text: str) -> None:
        for ours, real in self.ids.items():
            text = text.replace(f'"invocationId":"{ours}"', f'"invocationId":"{real}"')
        if self.transport_open:
            self.carry_out(self.session.text_received(self.epoch, text, self.now))

    def step_transport_lost(self, reason: str) -> None:
        assert self.transport_open
        self.transport_open = False
        self.carry_out(self.session.transport_lost(self.epoch, reason, self.now))
        self.fire_due()

    def step_started(self, expected: bool | dict[str, str]) -> None:
        outcome = self.until((Started, StartFailed))
        if expected is True:
            assert outcome == Started()
        else:
            assert isinstance(outcome, StartFailed)
            assert expected["error"] in outcome.error

    def step_state(self, expected: str) -> None:
        assert self.session.state.value == expected

    def step_event(self, expected: dict[str, Any]) -> None:
        called = self.until(Called)
        assert isinstance(called, Called)
        assert called.invocation.target == expected["target"]
        assert list(called.invocation.arguments) == expected["args"]

    def step_no_event(self, _: bool) -> None:
        assert self.count(Called) == 0

    def step_call(self, call: dict[str, Any]) -> None:
        target, args = call["target"], call["args"]
        match call["how"]:
            case "invoke":
                self.calls[call["id"]], text = self.session.invoke(target, *args, now=self.now)
            case "send":
                text = self.session.send_only(target, *args, now=self.now)
            case how:
                raise AssertionError(how)
        self.carry_out([text])

    def step_failed(self, expected: dict[str, str]) -> None:
        failed = self.until(CallFailed)
        assert isinstance(failed, CallFailed)
        assert failed.invocation_id == self.calls[expected["id"]]
        assert failed.error
        assert expected["has"] in failed.error

    def step_result(self, expected: dict[str, Any]) -> None:
        assert self.until(CallCompleted) == CallCompleted(self.calls[expected["id"]], expected["value"])

    def step_stop(self, _: bool) -> None:
        self.carry_out(self.session.stop(self.now))

    def step_closed(self, expected: dict[str, str] | None) -> None:
        closed = self.until(Closed)
        assert isinstance(closed, Closed)
        if expected is None:
            assert closed.error is None
        else:
            assert closed.error
            assert expected["has"] in closed.error

    def step_reconnecting(self, _: bool) -> None:
        self.until(Reconnecting)
        self.fire_due()

    def step_reconnected(self, _: bool) -> None:
        self.until(Reconnected)

    def step_reopen(self, how: str) -> None:
        self.reopen_fails = how == "fail"

    def step_wait(self, ms: int) -> None:
        self.pass_time(ms)

    def step_transport_closed_by_client(self, _: bool) -> None:
        assert self.closed_by_us == 1
        assert not self.transport_open

    def play(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            ((name, value),) = step.items()
            getattr(self, f"step_{name}")(value)

    def finish(self) -> None:
        """After the script: time alone brings no second end, and nothing was told that nobody expected."""
        if self.session.state.value == "Disconnected":
            self.pass_time(LONGEST_WAIT_MS)
            assert self.session.next_deadline == math.inf
        for kind in (
            Started,
            StartFailed,
            Closed,
            Called,
            CallFailed,
            CallCompleted,
            Reconnecting,
            Reconnected,
        ):
            assert self.count(kind) == 0, self.told


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_session(case: dict[str, Any]) -> None:
    driver = Driver()
    driver.play(case["steps"])
    driver.finish()


def test_every_step_of_the_cases_is_played() -> None:
    used = {name for case in CASES for step in case["steps"] for name in step}
    offered = {name.removeprefix("step_") for name in dir(Driver) if name.startswith("step_")}
    assert used == offered


def test_the_driver_can_fail() -> None:
    """A script with one expectation turned around is refused, whichever it is."""
    good = next(case for case in CASES if case["name"] == "invoke_error")["steps"]
    wrong_call = [*good[:-2], {"failed": {"id": "a", "has": "another text"}}]
    wrong_state = [*good[:-1], {"state": "Disconnected"}]
    for steps in (wrong_call, wrong_state, [*good, {"closed": None}]):
        with pytest.raises(AssertionError):
            Driver().play(steps)
