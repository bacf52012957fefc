"""``trio-projectx doctor``: what it says of a service that is well, and of each thing that may be wrong with it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trustme

pytest.importorskip("cyclopts", reason="the extra `cli` is not installed")

import trio_projectx as px
from trio_projectx.cli.app import run as run_command
from trio_projectx.cli.doctor import DoctorCommand, _check_clock, _check_memory, examine
from trio_projectx.cli.doctor_view import DoctorView
from trio_projectx.cli.findings import Finding, Findings, Verdict, session_sentence
from trio_projectx.cli.history_view import new_console
from trio_projectx.cli.network_checks import check_network
from trio_projectx.connection.health import ClockHealth
from trio_projectx.simulator import Fault, Simulator, open_simulator

COMMAND = [sys.executable, "-P", "-W", "error", "-m", "trio_projectx", "doctor"]
STEPS = [
    "config", "DNS 127.0.0.1", "TCP", "REST ping", "login", "token", "memory", "market hub", "user hub", "subscribe",
    "first trade", "first quote", "stream", "clock", "round trip", "latency", "ledger",
]  # fmt: skip


async def here(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run it without a process of its own, in a run of trio's own."""
    capsys.readouterr()
    code = await trio.to_thread.run_sync(run_command, ["doctor", *arguments])
    return (code, *capsys.readouterr())


def look(found: Findings, check: str) -> Finding:
    return next(each for each in found.all if each.check.startswith(check))


async def examined(sim: Simulator, seconds: float = 0.3, contract: str = "MNQ") -> Findings:
    found = Findings(lambda finding: None)
    await examine(DoctorCommand(contract=contract, seconds=seconds, url=sim.url, as_json=False), found)
    return found


@pytest.mark.slow
async def test_of_a_service_that_is_well_it_says_so_and_shows_the_ledger() -> None:
    async with open_simulator(seed=3, speed=20) as sim:
        with trio.fail_after(50):
            done = await trio.run_process(
                [*COMMAND, "--url", sim.url, "--seconds", "1"],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
    out = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), out
    said = re.findall(r"^(ok|warn|fail|skip) +(\S.*?)(?:  |$)", out, re.MULTILINE)
    steps = [
        name.partition(":")[0].removesuffix(" 127.0.0.1") if name.startswith("TCP") else name
        for _, name in said
    ]
    assert [step for step in steps if step not in ("limits", "loop", "machine")] == STEPS
    assert {verdict for verdict, _ in said} <= {"ok", "warn", "skip"}
    assert re.search(r"1s bars of CON\.F\.US\.MNQ\.\w+ +[\d,]+ .* yes", out)
    for row in re.findall(r"(?:bars|trades) of CON\S+ +([\d, ]+?) +yes", out)[:3]:
        _, accounted, *parts = (int(number.replace(",", "")) for number in row.split())
        assert accounted == sum(parts)
    assert re.search(r"trades of CON\.F\.US\.MNQ\.\w+ +[\d,]+ .* yes", out)
    assert "all is well" in out
    assert "simulator-key" not in out


async def test_as_json_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_simulator(seed=3, speed=20) as sim:
        code, out, error = await here(
            capsys, "--url", sim.url, "--seconds", "1.5", "--json", "--contract", "ES"
        )
    found = json.loads(out)
    assert (code, error, found["ok"]) == (0, "", True)
    assert {each["verdict"] for each in found["checks"]} <= {"ok", "warn", "skip"}
    assert all(isinstance(each["sentence"], str) and each["sentence"] for each in found["checks"])
    assert found["ledger"]["balanced"] is True
    (row,) = [each for each in found["ledger"]["rows"] if each["row"].startswith("1s bars of CON.F.US.EP")]
    assert row["received"] == row["before"] + row["in_bars"] + row["forming"] + row["in_flight"] > 0
    assert found["latency"]["wire_to_bar_ns"]["count"] > 0
    assert 0 < found["latency"]["wire_to_bar_ns"]["p50"] <= found["latency"]["wire_to_bar_ns"]["p99"]


@asynccontextmanager
async def environment(monkeypatch: pytest.MonkeyPatch, **changes: str) -> AsyncGenerator[Simulator]:
    async with open_simulator(seed=3) as sim:
        values = {
            "PROJECTX_USERNAME": "simulator",
            "PROJECTX_API_KEY": "simulator-key",
            "PROJECTX_REST_URL": sim.rest_url,
            "PROJECTX_MARKET_HUB_URL": sim.market_url,
            "PROJECTX_USER_HUB_URL": sim.user_url,
            **changes,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield sim


async def test_credentials_that_are_refused_are_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "a-key-that-nobody-may-see"
    async with environment(monkeypatch, PROJECTX_API_KEY=secret):
        code, out, error = await here(capsys)
    assert (code, error) == (3, "")
    assert re.search(r"^fail  login ", out, re.MULTILINE)
    assert "market hub" not in out  # what needs a login is not tried
    assert secret not in out


async def test_without_credentials_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("PROJECTX_")]:
        monkeypatch.delenv(name)
    code, out, _ = await here(capsys)
    assert code == 3
    assert re.search(r"^fail  config .*PROJECTX_USERNAME", out, re.MULTILINE)
    assert len(out.splitlines()) == 2


async def test_addresses_of_two_firms_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with environment(monkeypatch) as sim:
        sim.inject(Fault("http_status", hub="rest", path="/api/Status/*", status=500, count=0))
        code, out, _ = await here(capsys)
        assert (code, re.search(r"^warn +config", out, re.MULTILINE)) == (3, None)
        monkeypatch.setenv("PROJECTX_USER_HUB_URL", " ")
        monkeypatch.setattr("trio_projectx.cli.doctor.check_network", _nobody)
        code, out, _ = await here(capsys)
    assert re.search(r"^warn +config .* and not PROJECTX_USER_HUB_URL: what is missing", out, re.MULTILINE)


async def _nobody(config: px.GatewayConfig, findings: Findings) -> bool:
    await trio.lowlevel.checkpoint()
    return False


async def test_a_host_that_is_not_there_a_port_that_is_closed_and_no_tls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
        code, out, _ = await here(capsys, "--url", closed)
        assert (code, bool(re.search(r"^fail  TCP 127", out, re.MULTILINE))) == (3, True)
    async with environment(monkeypatch) as sim:
        monkeypatch.setenv("PROJECTX_REST_URL", sim.rest_url.replace("http", "https"))
        code, out, _ = await here(capsys)
    assert (code, bool(re.search(r"^fail  TLS 127.*does not speak TLS", out, re.MULTILINE))) == (3, True)

    class Nobody(trio.abc.HostnameResolver):
        async def getaddrinfo(
            self, host: object, port: object, family: int = 0, *rest: object, **more: object
        ) -> list[object]:
            raise OSError(-2, "Name or service not known")

        async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Nobody())
    found = Findings(lambda finding: None)
    assert not await check_network(px.GatewayConfig.simulated("http://nobody.invalid"), found)
    (finding,) = found.all
    assert (finding.check, finding.verdict) == ("DNS nobody.invalid", Verdict.FAIL)


@pytest.mark.parametrize(("days", "verdict"), [(30, Verdict.OK), (3, Verdict.WARN)])
async def test_a_certificate_that_ends_soon_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, days: int, verdict: Verdict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import datetime
    import ssl

    authority = trustme.CA()
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, hours=1)
    roots = tmp_path_factory.mktemp("roots") / "ca.pem"
    authority.cert_pem.write_to_path(roots)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", not_after=ends).configure_cert(context)

    async def hold(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.do_handshake()
            await stream.receive_some(1)
        except trio.BrokenResourceError:
            pass  # the other side has seen enough

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, hold, [listener])
        port = listener.transport_listener.socket.getsockname()[1]
        found = Findings(lambda finding: None)
        assert await check_network(px.GatewayConfig.simulated(f"https://localhost:{port}"), found)
        nursery.cancel_scope.cancel()
    finding = look(found, "TLS localhost")
    assert finding.verdict is verdict
    assert f"good for {days} days more" in finding.sentence
    assert finding.sentence.startswith("TLSv1.")


async def test_a_hub_that_refuses_and_a_contract_that_nobody_knows() -> None:
    async with open_simulator(seed=3) as sim:
        sim.inject(Fault("http_status", hub="market", phase="upgrade", count=0))
        found = await examined(sim)
        assert look(found, "market hub").verdict is Verdict.FAIL
        assert not found.is_well
        assert found.as_json()["ledger"] is None
    async with open_simulator(seed=3) as sim:
        found = await examined(sim, contract="NOSUCH")
        assert look(found, "data").verdict is Verdict.FAIL
        assert "NOSUCH" in look(found, "data").sentence
        assert look(found, "ledger").verdict is Verdict.OK


@pytest.mark.parametrize("as_json", [True, False])
async def test_when_memory_has_run_out_what_was_found_is_told_and_the_exit_code_is_75(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    looks = 0

    def read() -> px.MemoryReading:
        nonlocal looks
        looks += 1
        return (
            px.MemoryReading(98 << 30, 2 << 30, "a test")
            if looks > 6
            else px.MemoryReading(1, 1 << 40, "a test")
        )

    async with open_simulator(seed=3, speed=20) as sim:
        config = attrs.evolve(
            px.GatewayConfig.simulated(sim.url), memory=px.MemoryOptions(read=read, look_s=0.1, drain_s=0.2)
        )
        monkeypatch.setattr(px.GatewayConfig, "simulated", lambda url: config)
        found = Findings(lambda finding: None)
        code, out, error = await here(capsys, "--url", sim.url, "--seconds", "30", *["--json"] * as_json)
    assert (code, "ends to be started again" in error) == (75, True)
    if as_json:
        found = json.loads(out)
        memory = [each["verdict"] for each in found["checks"] if each["check"] == "memory"]
        assert (found["ok"], memory) == (False, ["ok", "fail"])
    else:
        assert re.search(r"^ok +login ", out, re.MULTILINE)
        assert re.search(r"^fail +memory .* ends to be started again", out, re.MULTILINE)
        assert "1 fail" in out.splitlines()[-1]


async def test_a_ping_that_is_refused_is_not_said_to_be_for_a_token(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_simulator(seed=3) as sim:
        sim.inject(Fault("http_status", hub="rest", path="/api/Status/*", status=401, count=0))
        code, out, _ = await here(capsys, "--url", sim.url)
    assert code == 3
    assert re.search(r"^fail +REST ping +ping: the service wants a login where", out, re.MULTILINE)
    assert "token" not in out


@pytest.mark.parametrize(("skew_ms", "says"), [(-2500.0, "2500 ms behind the"), (12.0, "12 ms ahead of the")])
def test_a_clock_is_ahead_or_behind(skew_ms: float, says: str) -> None:
    found = Findings(lambda finding: None)
    _check_clock(ClockHealth(skew_ms=skew_ms, is_skewed=skew_ms < 0), found)
    assert f"ours is {says} data's stamps" in look(found, "clock").sentence


async def test_a_market_that_says_nothing_is_told_with_its_hours() -> None:
    async with open_simulator(seed=3) as sim:
        sim.inject(Fault("http_status", hub="user", phase="upgrade", count=0))
        found = await examined(sim, seconds=0.001)
    assert look(found, "user hub").verdict is Verdict.FAIL
    assert look(found, "subscribe").verdict is Verdict.OK
    for finding in found.all:
        if finding.check.startswith("first") and finding.seconds is None:
            assert finding.verdict in (Verdict.WARN, Verdict.SKIP)
            assert "the market of MNQ is" in finding.sentence


async def test_limits_that_do_not_fit_are_warned_of() -> None:
    found = Findings(lambda finding: None)
    async with open_simulator() as sim:
        times = px.Timeouts(keep_alive_s=40)
        config = attrs.evolve(px.GatewayConfig.simulated(sim.url), timeouts=times)
        async with px.open_gateway(config) as gateway:
            _check_memory(config, gateway, found)
    assert look(found, "limits").verdict is Verdict.WARN
    assert any("keep_alive_s (40) is not below" in each.sentence for each in found.all)
    assert "agree" not in look(found, "memory").sentence


def test_hours_in_a_sentence() -> None:
    friday_night, wednesday = 1_787_356_800_000_000_000, 1_787_172_660_000_000_000
    assert session_sentence("CON.F.US.MNQ.U26", wednesday) == (True, "the market of MNQ is open")
    is_open, said = session_sentence("CON.F.US.MNQ.U26", friday_night)
    assert is_open is False
    assert said == "the market of MNQ is closed until 2026-08-23 22:00 UTC"
    assert session_sentence("CON.F.US.NOSUCH.U26", wednesday)[0] is None


async def test_a_ledger_that_does_not_balance_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    found = Findings(lambda finding: None)
    found.add("ledger", Verdict.FAIL, "[red]not accounted for[/]: x")
    view = DoctorView(new_console())
    view.show(found.all[0])
    view.conclude(found)
    out = capsys.readouterr().out
    assert "[red]not accounted for[/]: x" in out  # markup of others is text
    assert "something is wrong: 1 fail" in out


@pytest.mark.parametrize("seconds", ["0", "-1", "1e9", "nan"])
async def test_seconds_are_checked(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    code, _, error = await here(capsys, "--seconds", seconds)
    assert (code, "--seconds must be above 0" in error) == (1, True)
