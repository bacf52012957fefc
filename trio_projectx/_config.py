"""Options, as frozen groups, with units in their names. Everything is checked when it is made."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

import attrs
import trio

from trio_projectx._credentials import Credentials as Credentials
from trio_projectx._errors import ConfigError
from trio_projectx._items import Overflow as Overflow
from trio_projectx._logs import fields
from trio_projectx._options import HistoryOptions as HistoryOptions
from trio_projectx._options import MemoryOptions as MemoryOptions
from trio_projectx._options import Reconnect as Reconnect
from trio_projectx._options import Refresh as Refresh
from trio_projectx._validators import at_least_1, is_share, is_stamp, not_negative, one_of, positive, seconds

_log: Final = logging.getLogger("trio_projectx")

TOPSTEPX_REST: Final = "https://api.topstepx.com"
TOPSTEPX_MARKET: Final = "https://rtc.topstepx.com/hubs/market"
TOPSTEPX_USER: Final = "https://rtc.topstepx.com/hubs/user"


class Connect(Protocol):
    """Opens the byte stream to a host; the one door to the network, so that tests can open another."""

    def __call__(self, host: str, port: int, *, tls: bool) -> Awaitable[trio.abc.Stream]:
        """Return a connected stream (TLS already spoken if ``tls``), or raise `OSError`/`ConnectError`."""
        ...


def _up_to_1(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if value > 1:
        raise ConfigError(f"{type(instance).__name__}.{attribute.name} must be at most 1, not {value!r}")


def _not_endless(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if value > 86_400_000:
        raise ConfigError(
            f"{type(instance).__name__}.{attribute.name} must be at most 86,400,000, not {value!r}"
        )


def _origins(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    where = f"{type(instance).__name__}.{attribute.name}"
    if not isinstance(value, tuple):
        raise ConfigError(f"{where} must be a tuple of origins such as ('https://rtc.example.com',)")
    if not all(_is_origin(each) for each in value):
        raise ConfigError(f"{where} must hold origins such as https://rtc.example.com, without a path")


def _is_origin(text: object) -> bool:
    try:
        parts = urlsplit(text) if isinstance(text, str) else None
        if parts is None or parts.scheme not in _SCHEMES or not parts.hostname or parts.port == 0:
            return False
    except ValueError:  # a port or an IPv6 address that is none
        return False
    return not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)


def _endpoints(
    instance: object,
    attribute: attrs.Attribute[Endpoint],
    value: Endpoint | tuple[Endpoint, ...],
) -> None:
    several = value if isinstance(value, tuple) else (value,)
    if not several or not all(isinstance(each, Endpoint) for each in several):
        raise ConfigError("GatewayConfig.endpoints must be an Endpoint, or a tuple of at least one")


def _check_kinds(instance: object, kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        value: object = getattr(instance, name)
        if not isinstance(value, kind):
            where = f"{type(instance).__name__}.{name}"
            # Not the value: it may be a secret in the wrong place.
            raise ConfigError(f"{where} must be a {kind.__name__}, not a {type(value).__name__}")


_SCHEMES: Final = ("http", "https")
_USUAL_SIZE_MAX: Final = 1_000_000
_USUAL_VOLUME_BAND: Final = 100.0


def _url(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    where = f"Endpoint.{attribute.name}"
    # Looked for before it is parsed: that leaves some of them out, and what is sent is the text as it is.
    if isinstance(value, str) and not all(each.isprintable() and not each.isspace() for each in value):
        raise ConfigError(f"{where} holds white space or a control character, which no URL has")
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port > 0
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(f"{where} is not a URL") from None
    if parts.scheme not in _SCHEMES or not parts.hostname or not port_is_valid:
        raise ConfigError(f"{where} must look like https://host/path (http for a simulator on loopback)")
    if parts.username or parts.password or "access_token" in parts.query:
        raise ConfigError(f"{where} must not carry credentials; give them in Credentials")
    if "#" in value:
        raise ConfigError(f"{where} has a fragment (#...), which is never sent")
    if "?" in value and attribute.name == "rest_url":
        raise ConfigError(
            f"{where} has a query (?...), and paths are put behind it; a hub's URL may have one"
        )


@attrs.frozen(slots=True)
class Endpoint:
    """Where the service is: the REST base and the two hubs, as http(s) URLs (the hubs' become ws(s))."""

    rest_url: str = attrs.field(default=TOPSTEPX_REST, validator=_url)
    market_hub_url: str = attrs.field(default=TOPSTEPX_MARKET, validator=_url)
    user_hub_url: str = attrs.field(default=TOPSTEPX_USER, validator=_url)


@attrs.frozen(slots=True)
class Timeouts:
    """How long each wait may last, in seconds (sources: SIGNALR.md sections 4 and 8, FAULTS.md I4)."""

    connect_s: float = attrs.field(default=10.0, validator=seconds)
    """TCP, TLS and the WebSocket upgrade together; also the negotiate request."""
    handshake_s: float = attrs.field(default=15.0, validator=seconds)
    subscribe_s: float = attrs.field(default=15.0, validator=seconds)
    server_s: float = attrs.field(default=30.0, validator=seconds)
    """Silence of a hub (no record at all) after which it is dead."""
    keep_alive_s: float = attrs.field(default=15.0, validator=seconds)
    """A hub ping is sent after this long without sending."""
    rest_s: float = attrs.field(default=30.0, validator=seconds)
    """One REST call in all: connecting, sending, reading the whole answer."""
    send_s: float = attrs.field(default=10.0, validator=seconds)
    close_s: float = attrs.field(default=0.5, validator=seconds)
    """How long leaving waits for the other side's answer to a Close frame; nothing depends on it, and a peer that is
    gone never gives it. A second less what the farewell before it may take."""
    probe_s: float = attrs.field(default=15.0, validator=seconds)
    """Time between two WebSocket pings that measure the round trip, and the longest wait for one's pong."""
    record_s: float = attrs.field(default=120.0, validator=seconds)
    """How long one record may take to come in, while bytes of it do come."""
    pong_s: float | None = attrs.field(default=None, validator=attrs.validators.optional(seconds))
    """If set, a connection with neither a record nor a pong for this long is dead (15 finds a half-open one in
    half of ``server_s``); pongs are asked for three times as often."""
    refresh_s: float = attrs.field(default=30.0, validator=seconds)
    """One attempt to get a new token, in all."""
    stall_s: float = attrs.field(default=30.0, validator=seconds)
    """Silence of a contract in its trading hours after which it is suspected to be stalled, or
    ``limits.stall_intervals`` of its recent interval where that is longer."""
    overlap_s: float = attrs.field(default=1.0, validator=seconds)
    """How long an old connection goes on beside its successor where no trade shows that both are level."""


@attrs.frozen(slots=True)
class Limits:
    """How much of anything is held, with units in the names."""

    record_bytes: int = attrs.field(default=3 << 20, validator=at_least_1)
    """The longest record that is put together from a hub's frames."""
    rest_body_bytes: int = attrs.field(default=3 << 20, validator=at_least_1)
    """The longest answer that is taken: the service's longest, 20,000 bars, is 2.2 million bytes."""
    batches_in_flight: int = attrs.field(default=64, validator=at_least_1)
    """Capacity of each inner channel (reader to validator, validator to builders), in batches."""
    stream_items: int = attrs.field(default=10_000, validator=at_least_1)
    """Default capacity of a user's stream."""
    buffer_warn_share: float = attrs.field(default=0.95, validator=[positive, _up_to_1])
    """The share of a stream's capacity from which on it is told that it fills up (`StreamFilling`)."""
    bars_kept: int = attrs.field(default=100_000, validator=at_least_1)
    """Closed bars kept per timeframe of an open stream for `table()`; older ones go."""
    revisable_bars: int = attrs.field(default=1000, validator=at_least_1)
    """The last closed bars per timeframe that late trades may change, in streams with ``late="revise"``; a trade for an
    older one is counted as late."""
    malformed_per_minute: int = attrs.field(default=60, validator=at_least_1)
    """Records that cannot be read, per minute, above which a connection is given up."""
    stamp_min_ns: int = attrs.field(default=315_532_800_000_000_000, validator=is_stamp)
    """The earliest stamp a trade may carry (1980-01-01T00:00Z)."""
    stamp_max_ns: int = attrs.field(default=4_102_444_800_000_000_000, validator=is_stamp)
    """The latest (2100-01-01T00:00Z): a stamp is never judged by the local clock."""
    trade_size_max: int = attrs.field(default=_USUAL_SIZE_MAX, validator=at_least_1)
    stall_intervals: float = attrs.field(default=20.0, validator=positive)
    """How many of its recent intervals a contract may be silent (see ``timeouts.stall_s``)."""
    skew_ms: float = attrs.field(default=1000.0, validator=positive)
    """Difference between the exchange's clock and ours from which on it is told; nothing is rejected for it."""
    price_band: float = attrs.field(default=0.1, validator=is_share)
    """By what share of the price a trade may differ from those before it; beyond, it is held until others, or a
    quote, confirm that the market is there. 0 holds none."""
    price_band_confirm: int = attrs.field(default=3, validator=at_least_1)
    """How many trades confirm, or contradict, a price that is held."""
    stamp_ahead_s: float = attrs.field(default=10.0, validator=[not_negative, _not_endless])
    """By how much a trade's stamp may be ahead of the exchange's clock (the contract's own stamps and the time since
    them) and of ours; beyond, it is held until others, or a quote, confirm that it is that late. 0 holds none."""
    stamp_ahead_confirm: int = attrs.field(default=3, validator=at_least_1)
    """How many trades confirm, or contradict, a stamp that is held."""
    volume_band: float | None = attrs.field(default=None, validator=attrs.validators.optional(not_negative))
    """How many times the biggest of the last 1,000 trades a volume may be; beyond, it is rejected. 0 rejects none;
    None is 100, but 0 where ``trade_size_max`` was raised: then big ones are expected."""
    volume_band_floor: int = attrs.field(default=100_000, validator=at_least_1)
    """A volume up to this is never rejected for that."""
    crossed_quotes: Literal["count", "drop"] = attrs.field(default="count", validator=one_of("count", "drop"))
    """A quote whose bid is above its ask is given like any other ("count"), or is not ("drop"); it is counted."""
    recent_trades: int = attrs.field(default=10_000, validator=at_least_1)
    """How many of a contract's last trades `Gateway.recent_trades` knows."""
    recent_trades_s: float = attrs.field(default=900.0, validator=seconds)
    """How old they may be at most, by event time against the youngest of them."""
    rejections_kept: int = attrs.field(default=64, validator=at_least_1)
    """How many of the last rejected records of a contract are kept for `Gateway.rejections`."""
    lateness_ms: float = attrs.field(default=50.0, validator=[not_negative, _not_endless])
    """How much later than a younger trade a trade may arrive and still be put into its bar."""
    quiet_ms: float = attrs.field(default=1000.0, validator=[not_negative, _not_endless])
    """How much longer than that the clock waits before it closes a bar that no younger trade has closed: as much
    later as the line may bring a trade than the one before it."""

    def __attrs_post_init__(self) -> None:
        if self.stamp_min_ns > self.stamp_max_ns:
            raise ConfigError("Limits.stamp_min_ns must not be above Limits.stamp_max_ns")

    @property
    def volume_times(self) -> float:
        """``volume_band`` with its default filled in."""
        if self.volume_band is None:
            return 0.0 if self.trade_size_max > _USUAL_SIZE_MAX else _USUAL_VOLUME_BAND
        return self.volume_band


@attrs.frozen(slots=True)
class GatewayConfig:
    """Everything `open_gateway` needs; all of it has defaults but the credentials."""

    credentials: Credentials
    endpoints: Endpoint | tuple[Endpoint, ...] = attrs.field(default=Endpoint(), validator=_endpoints)
    """Where the service is: one `Endpoint`, or several, the first of which is used as long as it works."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    reconnect: Reconnect = attrs.field(factory=Reconnect)
    refresh: Refresh = attrs.field(factory=Refresh)
    history: HistoryOptions = attrs.field(factory=HistoryOptions)
    memory: MemoryOptions = attrs.field(factory=MemoryOptions)
    token_transport: Literal["header", "query"] = attrs.field(
        default="header", validator=one_of("header", "query")
    )
    """How a hub gets the token; "query" puts it into the WebSocket's URL, for a gateway that reads no header."""
    negotiate: bool = False
    """Ask the hub's negotiate route for a connection id first; ProjectX's own clients skip it."""
    redirect_origins: tuple[str, ...] = attrs.field(default=(), validator=_origins)
    """Origins (``https://host``) besides the hub's own to which negotiate may redirect, token and all."""
    wall_clock: Callable[[], int] = time.time_ns
    """Wall time as int64 ns: it stamps ``ts_recv``, says how old a token is, whether a market is open and which bars of
    history are over, and bounds stamps of the future; no duration is measured by it, and no bar's content."""
    connect: Connect | None = None
    """The door to the network; None is TCP, with TLS verified against the system's trust roots."""

    def __attrs_post_init__(self) -> None:
        kinds = {"credentials": Credentials, "timeouts": Timeouts, "limits": Limits, "negotiate": bool}
        groups = {
            "reconnect": Reconnect,
            "refresh": Refresh,
            "history": HistoryOptions,
            "memory": MemoryOptions,
        }
        _check_kinds(self, {**kinds, **groups})
        for name in ("wall_clock", "connect"):
            value: object = getattr(self, name)
            if not (callable(value) or (name == "connect" and value is None)):
                raise ConfigError(f"GatewayConfig.{name} must be callable, not a {type(value).__name__}")

    @property
    def all_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints as a tuple, the preferred one first."""
        return self.endpoints if isinstance(self.endpoints, tuple) else (self.endpoints,)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> GatewayConfig:
        """Read the credentials as `Credentials.from_env`, and, where set, PROJECTX_REST_URL,
        PROJECTX_MARKET_HUB_URL and PROJECTX_USER_HUB_URL. What is missing of these is TopstepX's; where that mixes two
        firms, it is logged.

        :raises ConfigError: naming the variable that is missing or wrong.
        """  # noqa: D205
        env = os.environ if environ is None else environ
        config = cls(credentials=Credentials.from_env(env), endpoints=_endpoint_of(env))
        mixed = mixed_addresses(env)
        if mixed is not None:
            _log.warning("the addresses may be of two firms: %s", mixed, extra=fields("addresses_mixed"))
        return config

    @classmethod
    def simulated(cls, url: str) -> GatewayConfig:
        """Talk to a simulator whose base URL is ``url`` (``http://127.0.0.1:PORT``)."""
        if not isinstance(url, str):
            raise ConfigError(f"simulated() takes the URL of a simulator, not a {type(url).__name__}")
        base = url.rstrip("/")
        return cls(
            credentials=Credentials("simulator", "simulator-key"),
            endpoints=Endpoint(base, f"{base}/hubs/market", f"{base}/hubs/user"),
        )


_ENDPOINT_NAMES: Final = {
    "PROJECTX_REST_URL": "rest_url",
    "PROJECTX_MARKET_HUB_URL": "market_hub_url",
    "PROJECTX_USER_HUB_URL": "user_hub_url",
}


def _endpoint_of(env: Mapping[str, str]) -> Endpoint:
    endpoint = Endpoint()
    for variable, field in _ENDPOINT_NAMES.items():
        value = env.get(variable, "").strip()
        if value:
            try:
                endpoint = attrs.evolve(endpoint, **{field: value})
            except ConfigError as exc:
                raise ConfigError(f"the environment variable {variable}: {exc}") from None
    return endpoint


def mixed_addresses(env: Mapping[str, str]) -> str | None:
    """Return a sentence where the environment names other addresses than TopstepX's, and not all three; else None."""
    usual, found = Endpoint(), _endpoint_of(env)
    named = {name: bool(env.get(name, "").strip()) for name in _ENDPOINT_NAMES}
    missing = [name for name, is_set in named.items() if not is_set]
    if not missing or found == usual:
        return None
    others = [name for name, is_set in named.items() if is_set]
    return (
        f"the environment sets {' and '.join(others)}, and not {' and '.join(missing)}: what is missing is TopstepX's, "
        "which may be another firm than yours, and is sent your token"
    )
