"""What a simulator is set to, checked once; and what it counts."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

import attrs

from trio_projectx._errors import ConfigError

#: What `GatewayConfig.simulated` logs in with.
USERNAME: Final = "simulator"
API_KEY: Final = "simulator-key"
Payloads: TypeAlias = Literal["live", "varied"]


def _not_negative(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{attribute.name} must be a finite number, 0 or more, not {value!r}")


def _above_0(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{attribute.name} must be a finite number above 0, not {value!r}")


def _payloads(_: object, attribute: attrs.Attribute[Payloads], value: Payloads) -> None:
    if value not in get_args(Payloads):
        known = ", ".join(get_args(Payloads))
        raise ConfigError(f"{attribute.name} must be one of {known}, not {value!r:.40}")


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigError(f"{attribute.name} must be 1 or more, not {value!r}")


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """The defaults are ASP.NET Core's (SIGNALR.md sections 8 and 10); seconds are of trio's clock."""

    seed: int
    speed: float = attrs.field(validator=_not_negative)
    username: str
    api_key: str
    token_ttl_s: float
    wall_clock: Callable[[], int]
    keep_alive_s: float = attrs.field(default=15.0, validator=_not_negative)
    """The server pings after this long without sending."""
    client_timeout_s: float = attrs.field(default=30.0, validator=_not_negative)
    """Silence of a client after which it is closed; armed by its first ping."""
    handshake_s: float = attrs.field(default=15.0, validator=_not_negative)
    send_s: float = attrs.field(default=10.0, validator=_not_negative)
    """A send that is stuck this long loses the connection."""
    close_s: float = attrs.field(default=5.0, validator=_not_negative)
    record_bytes: int = 32 * 1024
    """The longest record taken from a client, its 0x1e included."""
    outbox_chars: int = 16 << 20
    """What waits for one hub connection at most; when the market finds no room the connection is lost."""
    step_s: float = attrs.field(default=0.05, validator=_above_0)
    """How often the market is looked at: what happens in between goes out as one frame."""
    candles_kept: int | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    """How many seconds, and minutes, of what was streamed a market keeps as candles (None: 25 hours of seconds, 63
    days of minutes). Older ones are made again when they are asked for."""
    negotiated_s: float = 15.5
    """How long an id from negotiate waits for its WebSocket, or a lost one for the next (stateful
    reconnect). The real server looks once a second for those older than 15 s."""
    parallel: int = attrs.field(default=1, validator=_positive)
    """How many calls of one connection run at a time (MaximumParallelInvocationsPerClient)."""
    payloads: Payloads = attrs.field(default="live", validator=_payloads)
    """The forms of the market's records: those of the live wire, or every one the service is known to use."""
    close_on_expiry: bool = True
    """Whether a connection ends with its token (CloseOnAuthenticationExpiration)."""
    rate_limits: bool = True
    """Whether REST answers 429 beyond 50 history requests in 30 s and 200 others in 60 s, for each token."""
    retry_after: bool = False
    """Whether a 429 says when to come back; the documentation promises nothing."""
    history_cap: int = attrs.field(default=20_000, validator=_positive)
    """Bars in one answer at most; a higher limit is cut to it without a word."""
    auto_oco: bool = True
    """Whether accounts take orders with brackets (Auto OCO Brackets) or not (Position Brackets)."""


@attrs.define(slots=True)
class Counters:
    """The running counts behind `SimulatorStatistics`."""

    accepted: int = 0
    hub_connections: int = 0
    disconnects: int = 0
    last_disconnect: str = ""
    dropped_slow: int = 0
    trades_sent: int = 0
    quotes_sent: int = 0
    depth_lists_sent: int = 0
    broken_off: int = 0
    crashes: int = 0


@attrs.frozen(slots=True)
class SimulatorStatistics:
    """A snapshot of a simulator's counts."""

    accepted: int
    """Byte streams accepted, over sockets and in memory, whatever came of them."""
    hub_connections: int
    """WebSockets that were let in, in all."""
    hub_connections_open: int
    disconnects: int
    dropped_slow: int
    """Hub connections lost because their client did not read (full outbox or stuck send)."""
    trades_sent: int
    """Trades given to at least one subscriber; each counts once, however many there were."""
    quotes_sent: int
    depth_lists_sent: int
    broken_off: int
    """Connections whose client broke the WebSocket protocol in a way that ended them at once."""
    crashes: int
    """Bugs: connections that failed inside the simulator. The log has the traceback; a test may ask for 0."""


def check_port(port: int | None) -> None:
    """Refuse what is no TCP port: the system would take it modulo 65,536.

    :raises ConfigError: for anything but None and 0 to 65,535.
    """
    if port is not None and not (isinstance(port, int) and 0 <= port < 1 << 16):
        raise ConfigError(f"a port is a number from 0 to 65535, not {port!r:.40}")


def check_host(host: str, *, allow_remote: bool) -> None:
    """Refuse an address that other machines can reach, unless that was asked for.

    :raises ConfigError: because a simulator knows no secrets and lets everybody in.
    """
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not allow_remote:
        raise ConfigError(
            f"{host!r:.60} is not a loopback address; a simulator lets everybody in, so other machines may "
            "reach it only with allow_remote=True (--allow-remote)"
        )
