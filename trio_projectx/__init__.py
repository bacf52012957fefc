"""Validated, multi-timeframe bars from the ProjectX (TopstepX) Gateway, for trio.

General layout: the public names come in the order in which data flows. A `GatewayConfig` says where the service is
and who you are; `open_gateway` connects; ``gateway.open_bars(...)`` and its like are streams of the events below;
errors come last.
"""

from __future__ import annotations

from trio_projectx import bars as bars, market as market, signalr as signalr, simulator as simulator
from trio_projectx._config import (
    Credentials as Credentials,
    Endpoint as Endpoint,
    GatewayConfig as GatewayConfig,
    Limits as Limits,
    Overflow as Overflow,
    Timeouts as Timeouts,
)
from trio_projectx._errors import (
    AuthError as AuthError,
    ConfigError as ConfigError,
    ConnectError as ConnectError,
    ConnectionLost as ConnectionLost,
    ConnectTimeout as ConnectTimeout,
    ContractError as ContractError,
    GatewayError as GatewayError,
    ProtocolError as ProtocolError,
    SlowConsumer as SlowConsumer,
    SubscriptionError as SubscriptionError,
    TimeframeError as TimeframeError,
    TrioProjectXError as TrioProjectXError,
)
from trio_projectx._events import (
    Bar as Bar,
    Dropped as Dropped,
    Quote as Quote,
    Side as Side,
    Trade as Trade,
    to_datetime as to_datetime,
)
from trio_projectx._timeframe import Timeframe as Timeframe
from trio_projectx.bars import Anchor as Anchor
from trio_projectx.flow.bar_stream import BarStream as BarStream
from trio_projectx.flow.stream import Stream as Stream, StreamStatistics as StreamStatistics
from trio_projectx.gateway import Gateway as Gateway, GatewayStatistics as GatewayStatistics, open_gateway as open_gateway
