"""Every fault there is, by name: what it does, where it may strike, and what it can be told.

This table is the only list of names. The code that does a fault is looked up by the same name in the table of
its level (`wire`, `inserts`, `filters`, `requests`, `calls`); ``docs/faults.md`` prints this one. Tests hold
all three together.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

PHASES: Final = ("connect", "negotiate", "upgrade", "rest", "handshake", "subscribe", "stream")
"""The states of a connection, in order; the second to fourth are a request being answered."""
REQUESTS: Final = ("negotiate", "upgrade", "rest")
WEBSOCKET: Final = ("handshake", "subscribe", "stream")
RECORDS: Final = ("subscribe", "stream")
HUBS: Final = ("*", "market", "user", "silent", "rest")


class Level(enum.Enum):
    """What a fault works on; it decides where the fault is looked for."""

    ACCEPT = "a new connection"
    WIRE = "bytes"
    INSERT = "frames or records, put in"
    FILTER = "frames or records, on their way out"
    RECORD = "some records, on their way out"
    """As FILTER, but it has struck only when such a record has come."""
    REQUEST = "the answer to a request"
    ANSWER = "the right answer to a request, changed"
    CALL = "the answer to a call of a hub's method"


@attrs.frozen(slots=True)
class Spec:
    """One fault: ``phases`` in which it may strike, ``params`` it takes beside the common ones."""

    level: Level
    phases: tuple[str, ...]
    summary: str
    params: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    """Values of ``kind``; the first is the default."""


def _wire(summary: str, *params: str, phases: tuple[str, ...] = PHASES) -> Spec:
    return Spec(Level.WIRE, phases, summary, params)


def _insert(summary: str, *params: str, kinds: tuple[str, ...] = ()) -> Spec:
    return Spec(Level.INSERT, RECORDS, summary, params, kinds)


def _frame(summary: str, *params: str, kinds: tuple[str, ...] = ()) -> Spec:
    return Spec(Level.INSERT, WEBSOCKET, summary, params, kinds)


def _filter(summary: str, *params: str, kinds: tuple[str, ...] = ()) -> Spec:
    return Spec(Level.FILTER, RECORDS, summary, params, kinds)


def _record(summary: str, *params: str, kinds: tuple[str, ...] = ()) -> Spec:
    return Spec(Level.RECORD, RECORDS, summary, params, kinds)


BODY_KINDS: Final = (
    "garbage",
    "html",
    "empty",
    "types",
    "array",
    "truncated",
    "declared",
    "huge",
    "redirect",
)
BARS_KINDS: Final = (
    "empty",
    "doubled",
    "overlapping",
    "shuffled",
    "oldest_first",
    "off_grid",
    "unaligned",
    "crooked",
    "grown",
    "forming",
    "behind",
    "begun",
    "capped",
    "unlimited",
)
HANDSHAKE_KINDS: Final = ("error", "not_json", "not_object", "typed", "unterminated", "two_records")
POLICIES: Final = ("close", "logout", "silence")

#: Changes of one field of a real trade, as JSON text; see `hostile`.
HOSTILE_KINDS: Final = (
    "price_negative", "price_zero", "price_null", "price_string", "price_true", "price_list", "price_object",
    "price_missing", "price_nan", "price_infinity", "price_minus_infinity", "price_1e400", "price_1e308",
    "price_1E500", "off_grid", "jump_10x",
    "volume_negative", "volume_zero", "volume_fraction", "volume_string", "volume_null", "volume_2_63",
    "volume_1e30", "volume_missing",
    "stamp_1601", "stamp_0001", "stamp_2999", "stamp_30_february", "stamp_empty", "stamp_null", "stamp_epoch_int",
    "stamp_1e18", "stamp_no_zone", "stamp_missing",
    "foreign_contract", "foreign_symbol", "foreign_route", "contract_number", "side_string", "side_unknown",
    "lone_surrogate", "nul_character", "control_characters", "long_string",
    "entry_null", "entry_number", "entry_string", "entry_list", "data_null", "data_number", "data_string",
    "arguments_null", "arguments_object", "arguments_four", "arguments_missing",
    "type_string", "type_true", "type_missing", "target_null", "target_missing",
    "record_null", "record_number", "record_list", "record_string", "record_empty", "record_invalid_json",
    "quote_null", "quote_list", "quote_price_string", "quote_price_negative", "quote_price_true", "quote_stamp_bad",
)  # fmt: skip

SPECS: Final[Mapping[str, Spec]] = MappingProxyType(
    {
        # -- connections and bytes
        "refuse": Spec(
            Level.ACCEPT,
            ("connect",),
            "The connection is refused (in memory), or reset as soon as it is accepted (over a socket).",
        ),
        "tcp_reset": _wire("The connection is reset: no close frame, what is on its way is lost."),
        "tcp_fin": _wire("The server ends its direction: no close frame, what was sent arrives."),
        "half_open": _wire(
            "Nothing more is sent or read, and the connection is never closed: a peer that is gone without a word."
        ),
        "stop_reading": _wire("Nothing more is read: what the client sends piles up until its sends block."),
        "throttle": _wire("What is sent goes out at this rate.", "bytes_per_s"),
        "delay": _wire(
            "Each write waits: a fixed time, more or less the jitter (seeded).", "latency_s", "jitter_s"
        ),
        "rechunk": _wire("Each write is cut into writes of this many bytes.", "chunk_bytes"),
        "bit_flip": _wire("One bit of the next byte sent is turned over.", "bit"),
        "garbage": _wire("Random bytes (seeded) are put in.", "size_bytes"),
        "hang": _wire(
            "The step that `phase` names never comes to an end; the connection stays. `subscribe`: the method is "
            "called, never answered, and no later call is looked at. `stream`: nothing more is sent, not even pings."
        ),
        # -- WebSocket frames
        "ws_close": _frame("A WebSocket Close frame without a Close record before it.", "code", "reason"),
        "claimed_length": _frame("The header of a text frame that claims 2**62 bytes, and nothing after it."),
        "endless_fragments": _frame(
            "A text message of fragments that never ends (after `record_bytes` nothing more comes).",
            "record_bytes",
        ),
        "deflate_bomb": _frame(
            "A compressed frame (RSV1) of `record_bytes` spaces, though no compression was agreed on.",
            "record_bytes",
        ),
        "rsv_bit": _frame("A text frame with RSV2 set."),
        "reserved_opcode": _frame("A frame with opcode 3, which no specification gives a meaning."),
        "masked_frame": _frame("A masked text frame; a server must not mask."),
        "invalid_utf8": _frame(
            "A text message that is not UTF-8, in one frame, or cut in two inside a character.",
            "kind",
            kinds=("whole", "fragmented"),
        ),
        "handshake_answer": Spec(
            Level.FILTER,
            ("handshake",),
            "The answer to the handshake is another: an error (`error`), no JSON, no object, a record with a type, "
            "one without its end, or the right one with two more records in its frame.",
            ("error", "kind"),
            HANDSHAKE_KINDS,
        ),
        "binary_frames": _filter("Texts go out as binary messages."),
        "fragmented_frames": _filter(
            "Each text goes out in fragments of `chunk_bytes`, with a WebSocket ping behind the first.",
            "chunk_bytes",
        ),
        "split_records": _filter("Each record goes out over two messages."),
        # -- records
        "close_record": _insert(
            "A Close record, then WebSocket 1000: what a real server says before it hangs up.",
            "error",
            "allow_reconnect",
        ),
        "huge_record": _insert("A record of `record_bytes` bytes in one frame.", "record_bytes"),
        "unterminated_record": _insert(
            "Messages of one record that never ends (after `record_bytes` nothing more comes).",
            "record_bytes",
        ),
        "nested_record": _insert("A record of lists in lists.", "depth"),
        "unknown_target": _insert("An event nobody knows."),
        "unknown_type": _insert("A record of type 99."),
        "unknown_completion": _insert("A completion of a call that was never made."),
        "unknown_fields": _filter("Each record carries fields nobody knows."),
        "completion_twice": _record("The next completion comes twice."),
        "mute_pings": _filter("The hub's pings are not sent."),
        "mute_pongs": _filter("The client's WebSocket pings are not answered."),
        "mute_data": _filter("Events are not sent; pings and answers are: a stalled market."),
        "token_expiry": _insert(
            "Every token given out so far is refused from now on, and the hub closes (Close record with "
            "allowReconnect), sends GatewayLogout, or falls silent but for pings.",
            "policy",
        ),
        # -- trades; what is added or changed here is in no truth
        "trades_duplicated": _record("Each of the next `n` records with trades is sent twice.", "n"),
        "trades_swapped": _record("The next `n` pairs of records with trades change places.", "n"),
        "trades_late": _record(
            "Each of the next `n` records with trades is sent `late_s` late.", "n", "late_s"
        ),
        "trades_replayed": _record(
            "A later connection of this hub gets the last `n` records with trades of the former ones again, before "
            "its own first. Put it in before the trades are sent that are to be replayed.",
            "n",
        ),
        "hostile": _record(
            "Behind the next record with trades comes a copy of one of them with one thing wrong, `n` times.",
            "kind",
            "n",
            kinds=HOSTILE_KINDS,
        ),
        # -- requests and calls
        "http_status": Spec(
            Level.REQUEST,
            REQUESTS,
            "The request is answered with this status.",
            ("status", "body", "retry_after_s"),
        ),
        "http_body": Spec(
            Level.REQUEST,
            REQUESTS,
            "The request is answered 200 with a body that is none: random bytes, HTML, nothing, JSON of wrong types, "
            "an array, less than was declared, a declared TiB that never comes, `size_bytes` of it for real, or a "
            "redirect to `url` (307; in the form of negotiate there).",
            ("kind", "size_bytes", "url"),
            BODY_KINDS,
        ),
        "http_refused": Spec(
            Level.REQUEST,
            ("rest",),
            "The request is answered 200 with `success` false, this `errorCode`, and `error` as its `errorMessage`.",
            ("error", "error_code"),
        ),
        "history_bars": Spec(
            Level.ANSWER,
            ("rest",),
            "`History/retrieveBars` is answered, and something is done to its bars: see below.",
            ("kind", "late_s", "n"),
            BARS_KINDS,
        ),
        "subscribe_refused": Spec(
            Level.CALL, RECORDS, "A Subscribe call is answered with `error`.", ("error",)
        ),
        "subscribe_never": Spec(
            Level.CALL, RECORDS, "A Subscribe call is honoured and never answered; later calls are."
        ),
        "subscriptions_lost": Spec(
            Level.CALL, RECORDS, "A Subscribe call is answered as always, and nothing comes of it."
        ),
    }
)
"""Name of a fault to what it is."""


def level_of(name: str, phase: str) -> Level:
    """Return the level of a fault; that of ``hang`` depends on its phase."""
    if name == "hang" and phase in REQUESTS:
        return Level.REQUEST
    if name == "hang" and phase == "subscribe":
        return Level.CALL
    return SPECS[name].level
