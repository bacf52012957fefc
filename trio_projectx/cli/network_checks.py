"""What ``doctor`` looks at before anybody logs in: names, connections, certificates, and a ping."""

from __future__ import annotations

import datetime
import ssl
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio

import trio_projectx as px
from trio_projectx._redact import escape
from trio_projectx.cli.findings import Findings, Verdict
from trio_projectx.connection.network import close_forcefully, open_network_stream
from trio_projectx.connection.rest import RestClient

_PINGS: Final = 3
_DAYS_LEFT: Final = 7
_PORTS: Final = {"http": 80, "https": 443}


class _Place(NamedTuple):
    host: str
    port: int
    tls: bool


def _places(config: px.GatewayConfig) -> list[_Place]:
    """Return where the endpoints are, each once; of their URLs only this is ever shown."""
    found: dict[_Place, None] = {}
    for endpoint in config.all_endpoints:
        for url in (endpoint.rest_url, endpoint.market_hub_url, endpoint.user_hub_url):
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            found[_Place(parts.hostname or "", port, parts.scheme == "https")] = None
    return list(found)


async def check_network(config: px.GatewayConfig, findings: Findings) -> bool:
    """Look at each host; return whether all can be reached."""
    reached = [await _check_place(place, config.timeouts.connect_s, findings) for place in _places(config)]
    return all(reached)


async def _check_place(place: _Place, seconds: float, findings: Findings) -> bool:
    what, began = f"DNS {place.host}", trio.current_time()
    try:
        with trio.fail_after(seconds):
            found = await trio.socket.getaddrinfo(place.host, place.port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:  # UnicodeError: a name that IDNA cannot encode
        findings.add(what, Verdict.FAIL, f"the name is not known: {escape(str(exc))}")
        return False
    except trio.TooSlowError:
        findings.add(what, Verdict.FAIL, f"no answer within {seconds:g} s")
        return False
    addresses = len({each[4][0] for each in found})
    said = f"{addresses} address{'' if addresses == 1 else 'es'}"
    findings.add(what, Verdict.OK, said, trio.current_time() - began)
    return await _check_stream(place, seconds, findings)


async def _check_stream(place: _Place, seconds: float, findings: Findings) -> bool:
    what, began = f"{'TLS' if place.tls else 'TCP'} {place.host}:{place.port}", trio.current_time()
    try:
        with trio.fail_after(seconds):
            stream = await open_network_stream(place.host, place.port, tls=place.tls)
    except px.ConnectError as exc:
        findings.failed(what, exc)
        return False
    except trio.TooSlowError:
        findings.add(what, Verdict.FAIL, f"no connection within {seconds:g} s")
        return False
    taken = trio.current_time() - began
    try:
        verdict, said = _certificate(stream)
    finally:
        await close_forcefully(stream)  # noqa: ASYNC102  it shields itself
    findings.add(what, verdict, said, taken)
    return True


def _certificate(stream: trio.abc.Stream) -> tuple[Verdict, str]:
    """Say which TLS it is, and how long the certificate is good."""
    if not isinstance(stream, trio.SSLStream):
        return Verdict.OK, "connected"
    certificate: dict[str, str] = stream.getpeercert() or {}
    ends = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), datetime.UTC)
    days = (ends - datetime.datetime.now(datetime.UTC)).days
    verdict = Verdict.OK if days >= _DAYS_LEFT else Verdict.WARN
    return verdict, f"{stream.version()}, and its certificate is good for {days} days more"


async def check_service(config: px.GatewayConfig, findings: Findings) -> bool:
    """Ask whether the service is there, and how long that takes; it needs no credentials."""
    trips: list[float] = []
    client = RestClient(
        config.all_endpoints[0].rest_url,
        connect=config.connect,
        deadline_s=config.timeouts.rest_s,
        body_limit=config.limits.rest_body_bytes,
    )
    try:
        async with client:
            for _ in range(_PINGS):
                began = trio.current_time()
                await client.ping()
                trips.append(trio.current_time() - began)
    except px.TrioProjectXError as exc:
        findings.failed("REST ping", exc)
        return False
    findings.add("REST ping", Verdict.OK, f"answered {_PINGS} times; this is the fastest", min(trips))
    return True
