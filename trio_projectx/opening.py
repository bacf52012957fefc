"""`open_gateway`, which owns every task behind a `Gateway`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio_projectx._config import GatewayConfig
from trio_projectx._errors import ConfigError, MemoryExhausted
from trio_projectx._logs import limited_repeats
from trio_projectx._redact import install_redaction
from trio_projectx.composition import open_parts
from trio_projectx.flow.background import reraise
from trio_projectx.gateway import Gateway


@asynccontextmanager
async def open_gateway(config: GatewayConfig) -> AsyncGenerator[Gateway]:
    """Log in and own everything behind a `Gateway` until the block is left.

    Hubs connect with the first stream that needs them. Leaving the block ends all streams and tasks; what the block
    raises comes out as it is. Cancellation is prompt: closing is shielded, and bounded by ``timeouts.close_s``.

    :raises AuthError: if the service refuses the credentials.
    :raises ConnectError: if no endpoint is reached within ``timeouts.rest_s``.
    :raises GatewayError: if the login is answered with an error (500, 429, ...); it is not retried.
    :raises ProtocolError: if it is answered with something that is not the service's.
    :raises ConfigError: for limits that cannot be honoured together.
    :raises MemoryExhausted: if memory comes to its last level; it comes alone where nothing else has failed, also
        where tasks of the block had it from their streams. Leave with its ``exit_code``, to be started again.
    """
    if not isinstance(config, GatewayConfig):
        raise ConfigError(f"open_gateway takes a GatewayConfig, not a {type(config).__name__}")
    install_redaction()
    try:
        with limited_repeats() as repeats:
            async with open_parts(config, repeats.flush) as parts:
                yield Gateway(parts)
    except BaseExceptionGroup as group:  # only to take one error out of it: all others go on as they are
        exhausted = _only_exhausted(group)
        if exhausted is None:
            raise
        reraise(exhausted)


def _only_exhausted(group: BaseExceptionGroup[BaseException]) -> MemoryExhausted | None:
    """Return a `MemoryExhausted` of the group if there is nothing else in it: tasks had it from their streams."""
    found, rest = group.split(MemoryExhausted)
    exc: BaseException | None = None if rest is not None else found
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc if isinstance(exc, MemoryExhausted) else None
