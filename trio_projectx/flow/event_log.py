"""The log lines of events that whoever tells them does not log: a program that opens no `open_events` has them too."""

from __future__ import annotations

import logging
from typing import Final

from trio_projectx._config import Overflow
from trio_projectx._events import (
    CapacityChanged,
    ConnectionReplaced,
    GatewayEvent,
    HubStateChanged,
    JournalDamaged,
    JournalFailed,
    JournalOverflowed,
    JournalQuarantined,
    JournalRecovered,
    JournalSlow,
    ReplacementFailed,
    StreamEased,
    StreamFilling,
    SubscriptionRefused,
    TokenRefreshed,
    TokenRefreshFailed,
)
from trio_projectx._logs import fields

_log: Final = logging.getLogger("trio_projectx")


def log_event(event: GatewayEvent) -> None:
    """Log one event; those that have a line of their own already are left to it."""
    match event:
        case HubStateChanged() | ConnectionReplaced() | ReplacementFailed() | SubscriptionRefused():
            _log_hub(event)
        case TokenRefreshed() | TokenRefreshFailed():
            _log_token(event)
        case (
            JournalFailed()
            | JournalRecovered()
            | JournalOverflowed()
            | JournalSlow()
            | JournalQuarantined()
            | JournalDamaged()
        ):
            _log_journal(event)
        case CapacityChanged() | StreamFilling() | StreamEased():
            _log_room(event)
        case _:
            pass


def _log_hub(
    event: HubStateChanged | ConnectionReplaced | ReplacementFailed | SubscriptionRefused,
) -> None:
    match event:
        case HubStateChanged(hub, before, state, reason):
            _log.info(
                "%s hub: %s, it was %s: %s",
                hub,
                state.value,
                before.value,
                reason,
                extra=fields("hub_state", hub=hub, state=state.value),
            )
        case ConnectionReplaced(hub, cause, overlapped):
            how = "without a gap" if overlapped else "after a gap"
            _log.info(
                "%s hub: a newer connection took over, %s (%s)",
                hub,
                how,
                cause,
                extra=fields("connection_replaced", hub=hub),
            )
        case ReplacementFailed(hub, cause, reason, retry_in_s):
            _log.warning(
                "%s hub: a second connection (%s) could not be had, the first goes on; again in %.1f s: %s",
                *(hub, cause, retry_in_s, reason),
                extra=fields("replacement_failed", hub=hub),
            )
        case SubscriptionRefused(hub, subscription, reason):
            _log.warning(
                "%s hub: %s is refused, its streams break: %s",
                hub,
                subscription,
                reason,
                extra=fields("subscription_refused", hub=hub),
            )


def _log_token(event: TokenRefreshed | TokenRefreshFailed) -> None:
    if isinstance(event, TokenRefreshed):
        _log.info("there is a new token; the connections follow", extra=fields("token_refreshed"))
        return
    again = "not tried again by itself" if event.retry_in_s is None else f"again in {event.retry_in_s:.0f} s"
    _log.warning(
        "no new token, the connections are as they were; %s: %s",
        again,
        event.reason,
        extra=fields("token_refresh_failed", retry_in_s=event.retry_in_s, expires_in_s=event.expires_in_s),
    )


def _log_journal(
    event: JournalFailed
    | JournalRecovered
    | JournalOverflowed
    | JournalSlow
    | JournalQuarantined
    | JournalDamaged,
) -> None:
    match event:
        case JournalFailed(reason, lost, retry_in_s, _, journal):
            _log.error(
                "journal %s: writing failed, %d rows are not in it; again in %.1f s: %s",
                *(journal, lost, retry_in_s, reason),
                extra=fields("journal_failed", count=lost),
            )
        case JournalRecovered(lost, _, journal):
            _log.warning(
                "journal %s: writing works again; %d rows are missing",
                *(journal, lost),
                extra=fields("journal_recovered", count=lost),
            )
        case JournalOverflowed(lost, _, journal):
            _log.warning(
                "journal %s: the disk is too slow, %d rows found no room",
                *(journal, lost),
                extra=fields("journal_overflowed", count=lost),
            )
        case JournalSlow(taken_s, waiting_rows, _, journal):
            _log.warning(
                "journal %s: a write has taken %.1f s so far, %d rows wait",
                *(journal, taken_s, waiting_rows),
                extra=fields("journal_slow", count=waiting_rows),
            )
        case JournalQuarantined(name, reason, rows) | JournalDamaged(name, reason, rows):
            _log.warning(
                "journal: %s is damaged, %d rows before that can be read: %s",
                *(name, rows, reason),
                extra=fields("journal_damaged", count=rows),
            )


def _log_room(event: CapacityChanged | StreamFilling | StreamEased) -> None:
    match event:
        case CapacityChanged(stream, before, capacity, reason):
            _log.info(
                "%s: room for %d items, it was %d: %s",
                stream,
                capacity,
                before,
                reason,
                extra=fields("capacity_changed", stream=stream, count=capacity),
            )
        case StreamFilling(stream, queued, capacity, policy):
            _log.log(
                # Who wants the newest state alone is not slow: it fills by design.
                logging.INFO if policy is Overflow.CONFLATE else logging.WARNING,
                "%s: %d of %d items wait for its reader; when it is full: %s",
                *(stream, queued, capacity, policy.name),
                extra=fields("stream_filling", stream=stream, count=queued),
            )
        case StreamEased(stream, queued, capacity):
            _log.info(
                "%s: its reader has caught up, %d of %d items wait",
                stream,
                queued,
                capacity,
                extra=fields("stream_eased", stream=stream, count=queued),
            )
