from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio
from fault_tools import CONTRACT, config_for, open_sim
from hypothesis import given
from hypothesis import strategies as st

import trio_projectx as px
from trio_projectx.simulator import After, Fault, Step, parse_script, read_script

LINES = """
# the first minute
{"name": "mute_data", "hub": "market", "at_s": 5, "duration_s": 2}
{"at_s": 9, "clear": true}

{"name": "tcp_reset", "after": {"trades": 100, "struck": "mute_data"}}
"""


def test_lines_and_a_list_say_the_same() -> None:
    steps = parse_script(LINES)
    assert steps == (
        Step(Fault("mute_data", hub="market", duration_s=2), at_s=5),
        Step(at_s=9, clear=True),
        Step(Fault("tcp_reset"), after=After(trades=100, struck="mute_data")),
    )
    objects = [json.loads(line) for line in LINES.splitlines() if line.startswith("{")]
    assert parse_script(json.dumps(objects)) == steps
    assert parse_script(LINES.encode()) == steps
    assert parse_script("") == parse_script("[]") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1 of the script: this is not JSON"),
        ("\n\n{", "line 3 of the script"),
        ("[1]", "step 1 of the script is no JSON object, but int"),
        ('[{"name":"tcp_reset"},{"name":"x"}]', "step 2 of the script: there is no fault 'x'"),
        ("{}", "step 1 of the script: a step has a fault, or it is a clear"),
        ('{"at_s": 3}', "step 1 of the script: a step has a fault, or it is a clear"),
        ('{"name":"tcp_reset","clear":true}', "step 1 of the script: a step has a fault, or it is a clear"),
        ('{"name":"tcp_reset","at_s":-1}', "at_s must be seconds"),
        ('{"name":"tcp_reset","at_s":"soon"}', "Expected `float`, got `str`"),
        (
            '{"name":"tcp_reset","after":{"connection":1}}',
            "there is no field 'connection'; did you mean connections",
        ),
        ('{"name":"tcp_reset","after":{"trades":-1}}', "after.trades must be a whole number"),
        ('{"name":"tcp_reset","after":{"struck":"x"}}', "after.struck names no fault"),
        ('{"name":"tcp_reset","after":7}', "no JSON object, but int"),
        (b"\xff\xfe", "not UTF-8"),
        (json.dumps([{"name": "tcp_reset"}] * 1001), "up to 1000 steps, not 1001"),
    ],
)
def test_what_is_no_script_is_told_with_its_place(text: str | bytes, says: str) -> None:
    with pytest.raises(px.ConfigError, match=says):
        parse_script(text)


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_text_is_a_script_or_a_config_error(text: str | bytes) -> None:
    try:
        assert all(isinstance(step, Step) for step in parse_script(text))
    except px.ConfigError:
        pass


async def test_files(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    path.write_text(LINES)
    assert await read_script(path) == parse_script(LINES)
    with pytest.raises(px.ConfigError, match=r"nothing.jsonl.*No such file"):
        await read_script(tmp_path / "nothing.jsonl")
    with pytest.raises(px.ConfigError, match="Is a directory"):
        await read_script(tmp_path)
    path.write_text("[")
    with pytest.raises(px.ConfigError, match=r"script.jsonl.*not JSON"):
        await read_script(path)


async def test_a_script_runs_by_the_clock_and_by_what_has_happened(autojump_clock: object) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        sim.run_script(LINES)
        assert sim.faults() == ()
        async with gateway.open_trades(CONTRACT, events=True) as trades:
            async for item in trades:
                if isinstance(item, px.Gap):
                    break
        # The reset comes once the data was muted, which is at five seconds, whenever the trades are enough.
        assert 5 <= trio.current_time() < 5.2
        mute, reset = sim.faults()
        assert (mute.fault.name, mute.struck, reset.fault.name, reset.struck) == (
            "mute_data",
            1,
            "tcp_reset",
            1,
        )
        await trio.sleep_until(9.1)
        assert all(state.over for state in sim.faults())


async def test_after_counts_connections(autojump_clock: object) -> None:
    async with open_sim() as sim, px.open_gateway(config_for(sim)) as gateway:
        sim.run_script(
            '{"name":"tcp_reset","hub":"market","phase":"stream","after":{"connections":2},"count":5}'
        )
        async with gateway.open_trades(CONTRACT, events=True) as trades:
            for _ in range(30):
                assert isinstance(await trades.receive(), px.Trade)
            (state,) = sim.faults() or (None,)
            assert state is None or state.struck == 0
            sim.inject(Fault("tcp_reset", hub="market"))
            with trio.fail_after(200):  # the breaker opens, for 30 s and then for 60
                while not isinstance(await trades.receive(), px.Gap):
                    pass
        script, mine = sim.faults() if sim.faults()[0].struck > 1 else reversed(sim.faults())
        assert (script.struck, mine.struck) == (5, 1)  # each connection from the second one on, five times


async def test_nothing_of_a_script_is_done_that_cannot_be_done(autojump_clock: object) -> None:
    async with open_sim() as sim:
        with pytest.raises(px.ConfigError, match="step 2"):
            sim.run_script('[{"name":"tcp_reset"},{"name":"x"}]')
        assert sim.faults() == ()
