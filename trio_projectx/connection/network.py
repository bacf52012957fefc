"""The default door to the network: a TCP stream, with TLS where the URL asks for it."""

from __future__ import annotations

import ssl

import trio
from trio.abc import Stream

from trio_projectx._errors import ConnectError
from trio_projectx._redact import escape


class TlsError(ConnectError):
    """TLS cannot be spoken with this host as it must be: bad certificate, wrong name, or no TLS on that port.

    Fatal for whoever retries: the same answer comes again until someone mends the host, the clock or the URL.
    ``__cause__`` is the `ssl.SSLError`.
    """


async def open_network_stream(
    host: str, port: int, *, tls: bool, ssl_context: ssl.SSLContext | None = None
) -> Stream:
    """Connect to ``host``:``port`` and return the stream, TLS already spoken and verified if ``tls``.

    ``ssl_context`` is for trust roots of your own, or a client certificate (``functools.partial`` makes a
    `Connect` of it); None is `ssl.create_default_context()`: the system's roots, the host's name checked.
    TCP_NODELAY is on (trio sets it). There is no deadline here: the caller has one for the whole opening. On
    cancellation, and on every error, what was half open is closed.

    :raises TlsError: the certificate is bad or for another host, or the other side does not speak TLS.
    :raises ConnectError: the host is unknown or unreachable, or hung up during the TLS handshake.
    """
    try:
        tcp = await trio.open_tcp_stream(host, port)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a name that IDNA cannot encode
        raise ConnectError(f"no TCP connection to {host}:{port}: {escape(str(exc))}") from exc
    if not tls:
        return tcp
    try:
        return await _speak_tls(tcp, host, port, ssl_context)
    except BaseException:  # whatever it is, Cancelled included: the socket has no other owner yet
        await close_forcefully(tcp)  # noqa: ASYNC102  it shields itself
        raise


async def _speak_tls(tcp: trio.SocketStream, host: str, port: int, context: ssl.SSLContext | None) -> Stream:
    if context is None:
        # In a thread because it reads and parses the trust roots from disk (some 20 ms).
        context = await trio.to_thread.run_sync(ssl.create_default_context)
    # https_compatible: gateways close TCP without close_notify; WebSocket has a closing handshake of its own.
    stream = trio.SSLStream(tcp, context, server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__ or exc
        raise _tls_error(cause, f"{host}:{port}") from cause
    return stream


def _tls_error(cause: BaseException, where: str) -> ConnectError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TlsError(f"the certificate of {where} is not accepted: {escape(cause.verify_message)}")
    # Hanging up is what a restarting server does, too: worth another try, as a wrong certificate is not.
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return TlsError(f"{where} does not speak TLS as it must: {escape(str(cause.reason or cause))}")
    return ConnectError(f"{where} hung up during the TLS handshake")


async def close_forcefully(stream: Stream) -> None:
    """Close ``stream`` at once, cancelled or not: `trio.aclose_forcefully` bounds itself, this shields it."""
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)
