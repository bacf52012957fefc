"""The Gateway's REST side; the only importer of httpx2 and httpcore2.

httpx2 and not httpx: httpx 0.28 loses pool slots for ever when trio cancels requests. Every call has one deadline for
all of it, a bounded body (declared and actual), and typed errors. Tokens travel in a header and are in no text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar, cast

import httpcore2
import httpx2
import msgspec
import trio

from trio_projectx._config import Connect
from trio_projectx._errors import (
    ConnectError,
    ConnectTimeout,
    GatewayError,
    ProtocolError,
    TrioProjectXError,
    cleaned,
)
from trio_projectx._redact import escape
from trio_projectx.connection.accounts import Accounts, WireAccount
from trio_projectx.connection.answers import (
    Answer,
    BarsAnswer,
    BarsQuestion,
    CandlesAnswer,
    ContractAnswer,
    ContractsAnswer,
    Envelope,
    LoginAnswer,
    ValidateAnswer,
    WireCandle,
    check_ping,
    check_size,
    check_status,
    checked_token,
    newest_ns,
    refusal,
    seconds,
    wire_time,
)
from trio_projectx.connection.answers import WireContract as WireContract
from trio_projectx.connection.network import close_forcefully, open_network_stream
from trio_projectx.connection.pacer import Pacer, Urgency
from trio_projectx.connection.routes import lane_of, meaning

Shape = TypeVar("Shape", bound=msgspec.Struct)
Body: TypeAlias = Mapping[str, str | bool | int]

#: retrieveBars' unit 1 (GATEWAY.md section 1.3).
_SECOND: Final = 1
_DAY_NS: Final = 86_400_000_000_000
#: Of the pool's ten connections so many for what can wait; the rest is for what live streams need.
_AT_ONCE: Final = {Urgency.FILL: 3, Urgency.BULK: 3}
#: httpx2 would keep each cookie, and send them all, for as long as the gateway lives: a session here is a token.
_COOKIES: Final = (b"set-cookie", b"set-cookie2")
_NOT_REACHED: Final = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpcore2.NetworkError,
    httpcore2.TimeoutException,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
    httpcore2.ConnectionNotAvailable,
    OSError,
)


class RestClient:
    """One pool of connections to one REST base; an async context manager.

    Every call raises `ConnectTimeout` after ``deadline_s``, `ConnectError` where the service was not reached,
    `TokenRefused` for 401, `AuthError` for 403, `GatewayError` for any other refusal (`TryLater` for 429 and 503) and
    for ``success: false``, `ProtocolError` for an answer that is not the service's, and `trio.ClosedResourceError`
    once the client was closed. Cancelling a call frees its connection. With a ``pacer`` each call waits for its turn
    first; that time is not in ``deadline_s``.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect: Connect | None,
        deadline_s: float,
        body_limit: int,
        pacer: Pacer | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._pacer = pacer
        self._deadline_s = deadline_s
        self._client = httpx2.AsyncClient(
            transport=_Transport(connect, body_limit),
            timeout=None,  # one trio deadline covers the whole call instead of one for each step
            trust_env=False,  # the hubs' sockets know no proxy and no netrc either
            follow_redirects=False,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "trio_projectx",
            },
        )
        # A history that hangs is not to take the connections that tokens and contracts need.
        self._room = {kind: trio.CapacityLimiter(number) for kind, number in _AT_ONCE.items()}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Shielded, and bounded all the same: each stream is closed forcefully.
        with trio.CancelScope(shield=True):
            await self._stack.aclose()

    async def login(self, username: str, api_key: str) -> str:
        """Return a token (valid 24 h) for a user name and an API key; `CredentialsRefused` if they are no good."""
        answer = await self._call(
            "Auth/loginKey", {"userName": username, "apiKey": api_key}, LoginAnswer, what="login", login=True
        )
        return checked_token("login", answer.token)

    async def validate(self, token: str) -> str:
        """Return a new token for a valid one; the old one stays valid. The same one if the service gives no other."""
        answer = await self._call("Auth/validate", {}, ValidateAnswer, what="validate", token=token)
        return token if answer.newToken is None else checked_token("validate", answer.newToken)

    async def logout(self, token: str) -> None:
        """Let the service forget ``token``; whether connections made with it live on is the service's matter."""
        await self._call("Auth/logout", {}, Envelope, what="logout", token=token)

    async def search_contracts(self, text: str, *, live: bool, token: str) -> list[WireContract]:
        """Return at most 20 contracts that the service's fuzzy search finds for ``text``."""
        body: Body = {"searchText": text, "live": live}
        answer = await self._call(
            "Contract/search", body, ContractsAnswer, what="contract search", token=token
        )
        return answer.contracts

    async def available_contracts(self, *, live: bool, token: str) -> list[WireContract]:
        """Return the contracts that the service trades now, one active expiry of each product."""
        answer = await self._call(
            "Contract/available", {"live": live}, ContractsAnswer, what="contracts", token=token
        )
        return answer.contracts

    async def ping(self) -> None:
        """Ask whether the service is up; it needs no token.

        :raises ProtocolError: if it answers, and not as this service does.
        """
        async with self._turn("Status/ping", Urgency.LIVE):
            answer = await self._sent("GET", f"{self._base}/api/Status/ping", b"", {}, self._deadline_s)
            check_ping(answer)

    async def contract(self, contract_id: str, *, token: str) -> WireContract | None:
        """Return one contract by its id; None if the service does not know it."""
        body = {"contractId": contract_id}
        what = "contract by id"
        try:
            answer = await self._call("Contract/searchById", body, ContractAnswer, what=what, token=token)
        except GatewayError as exc:
            if exc.code == 1:  # ContractNotFound
                return None
            raise
        return answer.contract

    async def search_accounts(self, token: str, *, active: bool) -> list[WireAccount]:
        """Return the user's accounts, all or the active ones."""
        body: Body = {"onlyActiveAccounts": active}
        answer = await self._call("Account/search", body, Accounts, what="account search", token=token)
        return answer.accounts or []

    async def newest_bar_ns(
        self, contract_id: str, since_ns: int, token: str, *, live: bool = False
    ) -> int | None:
        """Return when the newest one-second bar with volume opened (int64 ns); None if there is none since.

        Bars count from the second of ``since_ns`` on, also one that is not over yet, and for a day: whether a market
        whose last trade was then is silent, or only its hub is, shows in whether there is one that opened later.
        """
        body: Body = {
            "contractId": contract_id,
            "live": live,  # practice and evaluation accounts see no bars under true (GATEWAY.md section 1.3)
            "startTime": wire_time(since_ns),
            "endTime": wire_time(since_ns + _DAY_NS),
            "unit": _SECOND,
            "unitNumber": 1,
            "limit": 1,
            "includePartialBar": True,
        }
        answer = await self._call("History/retrieveBars", body, BarsAnswer, what="bars", token=token)
        return newest_ns(answer.bars)

    async def bars(
        self, question: BarsQuestion, token: str, urgency: Urgency = Urgency.BULK
    ) -> list[WireCandle]:
        """Return one answer of ``History/retrieveBars``: as many bars as the service gives at once, newest first."""
        answer = await self._call(
            "History/retrieveBars", question.body(), CandlesAnswer, what="bars", token=token, urgency=urgency
        )
        return answer.bars or []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline_s: float) -> Answer:
        """POST ``body`` to an absolute ``url`` and return whatever is answered; redirects are not followed."""
        return await self._sent("POST", url, body, headers, deadline_s)

    async def _sent(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], deadline_s: float
    ) -> Answer:
        if self._client.is_closed:
            raise trio.ClosedResourceError("the gateway was closed")
        shown = escape(url.partition("?")[0])
        with trio.move_on_after(deadline_s):
            try:
                response = await self._client.request(method, url, content=body, headers=dict(headers))
            except _NOT_REACHED as exc:
                why = escape(str(exc) or type(exc).__name__)
                raise ConnectError(f"{shown} was not reached: {why}") from exc
            retry_after_s = seconds(response.headers.get("Retry-After"))
            return Answer(response.status_code, response.content, retry_after_s)
        raise ConnectTimeout(f"{shown} gave no whole answer within {deadline_s:g} s; is the service up?")

    async def _call(
        self,
        path: str,
        body: Body,
        shape: type[Shape],
        *,
        what: str,
        token: str | None = None,
        login: bool = False,
        urgency: Urgency = Urgency.LIVE,
    ) -> Shape:
        try:
            async with self._turn(path, urgency):
                return await self._answered(path, body, shape, what, token, login)
        except TrioProjectXError as exc:
            refusal = exc
        # The other side may echo what it was sent.
        raise cleaned(refusal, [secret for secret in (token, body.get("apiKey")) if isinstance(secret, str)])

    @asynccontextmanager
    async def _turn(self, path: str, urgency: Urgency) -> AsyncGenerator[None]:
        async with self._room.get(urgency) or nullcontext():
            async with nullcontext() if self._pacer is None else self._pacer.turn(lane_of(path), urgency):
                yield

    async def _answered(
        self,
        path: str,
        body: Body,
        shape: type[Shape],
        what: str,
        token: str | None,
        login: bool,
    ) -> Shape:
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        sent = msgspec.json.encode(body)
        answer = await self.post(f"{self._base}/api/{path}", sent, headers, self._deadline_s)
        check_status(what, answer, login=login)
        check_size(what, answer.body)
        try:
            envelope = msgspec.json.decode(answer.body, type=Envelope)
            if envelope.success:
                return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise ProtocolError(f"{what}: the answer is not the Gateway's: {escape(str(exc))}") from exc
        error = meaning(path, refusal(what, envelope, login=login))
        del answer, envelope  # as long as the error lives, its traceback would hold them
        raise error


class _Transport(httpx2.AsyncBaseTransport):
    """httpx2 over pools whose sockets come from the configuration's `Connect`, with bounded answers.

    One pool for plain streams and one for those with TLS, which `Connect` speaks: the hubs' way to the service
    is REST's way, with the same trust roots. To the pools everything is plain HTTP.
    """

    def __init__(self, connect: Connect | None, body_limit: int) -> None:
        self._limit = body_limit
        door = connect or open_network_stream
        self._plain = _pool(_Backend(door, tls=False))
        self._secure = _pool(_Backend(door, tls=True))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        tls = request.url.scheme in ("https", "wss")
        url = httpcore2.URL(
            scheme=b"http",
            host=request.url.raw_host,
            port=request.url.port or (443 if tls else 80),
            target=request.url.raw_path,
        )
        content = await request.aread()
        pool = self._secure if tls else self._plain
        async with pool.stream(request.method, url, headers=request.headers.raw, content=content) as response:
            headers = httpx2.Headers([each for each in response.headers if each[0].lower() not in _COOKIES])
            data = await _bounded(response, headers, self._limit)
            return httpx2.Response(response.status, headers=headers, content=data, request=request)

    async def aclose(self) -> None:
        await self._plain.aclose()
        await self._secure.aclose()


def _pool(backend: httpcore2.AsyncNetworkBackend) -> httpcore2.AsyncConnectionPool:
    # 20 s: Kestrel closes an idle connection after 130 s, a load balancer before it perhaps after 60.
    return httpcore2.AsyncConnectionPool(max_connections=10, keepalive_expiry=20.0, network_backend=backend)


async def _bounded(response: httpcore2.Response, headers: httpx2.Headers, limit: int) -> bytes:
    declared = headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limit:
        raise ProtocolError(f"the answer declares {declared} bytes, above the limit of {limit}")
    if headers.get("Content-Encoding", "identity") != "identity":
        # Nothing compressed was asked for, and what it would grow to is not bounded by its length.
        raise ProtocolError("the answer is compressed although none was asked for")
    data = bytearray()
    async with aclosing(response.aiter_stream()) as parts:
        async for part in parts:
            data += part
            if len(data) > limit:
                raise ProtocolError(f"the answer is longer than the limit of {limit} bytes")
    return bytes(data)


class _Backend(httpcore2.AsyncNetworkBackend):
    """httpcore2's door to the network, opened by the configuration's `Connect`."""

    def __init__(self, connect: Connect, *, tls: bool) -> None:
        self._connect = connect
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # httpcore2's signature; RestClient has one deadline for all
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await self._connect(host, port, tls=self._tls))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise httpcore2.UnsupportedProtocol("the Gateway is not reached by a unix socket")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore2.AsyncNetworkStream):
    """A trio stream with httpcore2's face."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore2.ReadError(str(exc)) from exc

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise httpcore2.WriteError(str(exc)) from exc

    async def aclose(self) -> None:
        # Nothing is owed to the peer when a connection is dropped, so nothing is waited for.
        await close_forcefully(self._stream)

    def get_extra_info(self, info: str) -> object:
        """Tell the pool whether an idle connection has become readable, that is: was closed by the peer.

        Of a stream that is no socket's nobody can tell; then it is not used again.
        """
        if info != "is_readable":
            return None
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = cast("trio.SSLStream[trio.abc.Stream]", stream).transport_stream
        return stream.socket.is_readable() if isinstance(stream, trio.SocketStream) else True
