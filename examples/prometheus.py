"""Figures for Prometheus, served by trio beside a gateway: no second event loop, and nothing done per trade.

The extra `otel` and the packages opentelemetry-sdk and opentelemetry-exporter-prometheus are needed.
"""

import prometheus_client
import trio
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider

import trio_projectx as px
from trio_projectx import telemetry

REQUEST_MOST = 16_384
REQUEST_S = 5.0


async def answer(stream: trio.SocketStream) -> None:
    """Answer one request, of which only the first line matters; whoever is too slow, or says too much, gets nothing."""
    with trio.move_on_after(REQUEST_S):
        async with stream:
            try:
                request = b""
                while b"\r\n\r\n" not in request and len(request) < REQUEST_MOST:
                    part = await stream.receive_some(4096)
                    if not part:
                        return
                    request += part
                await stream.send_all(response(request))
            except trio.BrokenResourceError:
                pass  # whoever asked has gone


def response(request: bytes) -> bytes:
    if request.startswith(b"GET /metrics "):
        status, body = "200 OK", prometheus_client.generate_latest()
    else:
        status, body = "404 Not Found", b"see /metrics\n"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {prometheus_client.CONTENT_TYPE_LATEST}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def scrape(port: int) -> str:
    """What Prometheus does."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return b"".join([part async for part in stream]).decode()


async def main() -> None:
    reader = PrometheusMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    async with (
        px.simulator.open_simulator(seed=7, speed=20) as simulator,
        px.open_gateway(px.GatewayConfig.simulated(simulator.url)) as gateway,
        gateway.open_bars("MNQ", "1s") as bars,
        trio.open_nursery() as nursery,
    ):
        with telemetry.export(gateway, provider.get_meter("example")), trio.fail_after(30):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, answer, [listener])
            for _ in range(10):
                await bars.receive()
            text = await scrape(listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()
    provider.shutdown()
    shown = [line for line in text.splitlines() if line.startswith("trio_projectx_")]
    for line in shown:
        if any(word in line for word in ("trades_received", "ledger", "latency", "hub_live", "bars_closed")):
            print(line)
    assert 'trio_projectx_ledger_broken{otel_scope_name="example"' in text, text
    assert any(line.startswith("trio_projectx_bars_closed_total") for line in shown)


trio.run(main)
