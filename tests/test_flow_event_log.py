"""Events that nobody logs where they are told have a line of their own."""

from __future__ import annotations

import logging

import attrs
import pytest

import trio_projectx as px
from trio_projectx import _events as events
from trio_projectx._logs import extra_of
from trio_projectx.flow.event_log import log_event

LIVE, DOWN = px.HubState.LIVE, px.HubState.RECONNECTING

LINES = [
    (events.HubStateChanged("market", LIVE, DOWN, "it was reset", 1), "INFO", "hub_state", "it was reset"),
    (
        events.ConnectionReplaced("user", "a newer token", True, 1),
        "INFO",
        "connection_replaced",
        "without a gap",
    ),
    (
        events.ConnectionReplaced("user", "a newer token", False, 1),
        "INFO",
        "connection_replaced",
        "after a gap",
    ),
    (events.ReplacementFailed("market", "age", "503", 2.5, 1), "WARNING", "replacement_failed", "2.5 s: 503"),
    (
        events.SubscriptionRefused("market", "trades", "no", 1),
        "WARNING",
        "subscription_refused",
        "trades is refused",
    ),
    (events.TokenRefreshed(None, 1), "INFO", "token_refreshed", "new token"),
    (
        events.TokenRefreshFailed("500", 60.0, 900.0, 1),
        "WARNING",
        "token_refresh_failed",
        "again in 60 s: 500",
    ),
    (events.TokenRefreshFailed("no", None, None, 1), "WARNING", "token_refresh_failed", "not tried again"),
    (events.JournalFailed("full", 7, 1.0, 1, "j"), "ERROR", "journal_failed", "7 rows are not in it"),
    (events.JournalRecovered(9, 1, "j"), "WARNING", "journal_recovered", "9 rows are missing"),
    (events.JournalOverflowed(3, 1, "j"), "WARNING", "journal_overflowed", "3 rows found no room"),
    (events.JournalSlow(2.0, 5, 1, "j"), "WARNING", "journal_slow", "2.0 s so far, 5 rows wait"),
    (
        events.JournalQuarantined("a.arrow", "torn", 4, 1, "j"),
        "WARNING",
        "journal_damaged",
        "a.arrow is damaged",
    ),
    (events.JournalDamaged("a.arrow", "torn", 4, 1), "WARNING", "journal_damaged", "4 rows before that"),
    (px.CapacityChanged("s", 10, 20, "busier", 1), "INFO", "capacity_changed", "20 items, it was 10: busier"),
    (
        px.StreamFilling("s", 95, 100, px.Overflow.ERROR, 1),
        "WARNING",
        "stream_filling",
        "95 of 100 items wait",
    ),
    (px.StreamFilling("s", 1, 1, px.Overflow.CONFLATE, 1), "INFO", "stream_filling", "CONFLATE"),
    (px.StreamEased("s", 40, 100, 1), "INFO", "stream_eased", "caught up"),
]


@pytest.mark.parametrize(("event", "level", "name", "part"), LINES)
def test_an_event_is_a_line(
    event: px.GatewayEvent, level: str, name: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "trio_projectx"):
        log_event(event)
    (record,) = caplog.records
    assert (record.levelname, extra_of(record)["event"]) == (level, name)
    assert part in record.getMessage()
    reason = getattr(event, "reason", "")
    assert reason in record.getMessage()


def test_what_has_a_line_already_gets_no_second(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "trio_projectx"):
        log_event(events.ClockSkewed(1.0, True, 1))
    assert not caplog.records


def test_no_field_hides_one_of_a_json_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trio_projectx"):
        for event, *_ in LINES:
            assert attrs.has(type(event))
            log_event(event)
    assert not {"ts", "level", "logger", "message"} & {
        name for each in caplog.records for name in extra_of(each)
    }
