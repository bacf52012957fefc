"""Methods that try every feature of the protocol, as on the hub of CONTROL.md; errors in the real words."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from trio_projectx.simulator.json_text import compact, string
from trio_projectx.simulator.outgoing import event
from trio_projectx.simulator.turns import (
    NO_TEXT,
    Arguments,
    BindingError,
    HubError,
    Method,
    Run,
    ServerError,
    Turn,
    integer,
    only,
    take,
    text,
    wrapped,
)

#: Bounds of the probes, so that no client can make the simulator hold or do anything unbounded.
_BURST_MAX: Final = 1_000_000
_BIG_MAX: Final = 8 << 20

_LISTS: Final = msgspec.json.Decoder(list[Raw] | None)


def _echo(arguments: Arguments) -> Run:
    value = only(arguments)

    async def run(_: Turn) -> str:
        return compact(value)

    return run


def _add(arguments: Arguments) -> Run:
    left, right = (integer(value) for value in take(arguments, 2))

    async def run(_: Turn) -> str:
        return str(wrapped(left + right))

    return run


def _nothing(arguments: Arguments) -> Run:
    take(arguments, 0)

    async def run(_: Turn) -> str:
        return "null"

    return run


def _throw(arguments: Arguments) -> Run:
    told = text(only(arguments))

    async def run(_: Turn) -> str:
        raise ServerError(told)

    return run


def _throw_hub(arguments: Arguments) -> Run:
    told = text(only(arguments))

    async def run(_: Turn) -> str:
        raise HubError(NO_TEXT if told is None else told)

    return run


def _who_am_i(arguments: Arguments) -> Run:
    take(arguments, 0)

    async def run(turn: Turn) -> str:
        identity = turn.link.identity
        return string(f"{identity.user}|{identity.token_from}")

    return run


def _slow(arguments: Arguments) -> Run:
    millis = integer(only(arguments))

    async def run(turn: Turn) -> str:
        if millis < 0:  # Task.Delay; -1, which is for ever there, is an error here too
            raise ServerError("a delay below 0")
        await turn.sleep(millis)
        return "null"

    return run


def _emit(arguments: Arguments) -> Run:
    raw_target, raw_values = take(arguments, 2)
    target = text(raw_target)
    try:
        values = _LISTS.decode(raw_values)
    except msgspec.MsgspecError:
        raise BindingError from None

    async def run(turn: Turn) -> str:
        if not target or values is None:
            raise ServerError("no target, or no arguments")
        await turn.send(event(target, (compact(bytes(value).decode()) for value in values)))
        return "null"

    return run


def _burst(arguments: Arguments) -> Run:
    """Send numbered events, back-pressed by the client, then return."""
    raw_target, raw_contract, raw_count = take(arguments, 3)
    target, contract = text(raw_target), string(text(raw_contract))
    count = integer(raw_count)

    async def run(turn: Turn) -> str:
        for seq in range(min(_BURST_MAX, count)):
            if not target:
                raise ServerError("no target")
            whole, cents = divmod(500_025 + 25 * seq, 100)
            payload = f'{{"seq":{seq},"price":{whole}.{cents:02d},"volume":{seq + 1}}}'
            if not await turn.send(event(target, (contract, payload))):
                break  # the connection is closing
        return "null"

    return run


def _big(arguments: Arguments) -> Run:
    raw_target, raw_size = take(arguments, 2)
    target, size = text(raw_target), integer(raw_size)

    async def run(turn: Turn) -> str:
        if not target or size < 0:
            raise ServerError("no target, or a size below 0")
        await turn.send(event(target, (f'"{"x" * min(_BIG_MAX, size)}"',)))
        return "null"

    return run


def _counter(arguments: Arguments) -> Run:
    count, delay_ms = (integer(value) for value in take(arguments, 2))

    async def run(turn: Turn) -> str:
        for number in range(count):
            if delay_ms > 0:
                await turn.sleep(delay_ms)
            await turn.stream(str(number))
        return ""

    return run


def _counter_fail(arguments: Arguments) -> Run:
    count = integer(only(arguments))

    async def run(turn: Turn) -> str:
        for number in range(count):
            await turn.sleep(0)  # Task.Yield
            await turn.stream(str(number))
        raise HubError("Ran out of data!")

    return run


def _sum(arguments: Arguments) -> Run:
    take(arguments, 0)

    async def run(turn: Turn) -> str:
        return str(wrapped(await turn.uploaded().sum()))

    return run


def _ask_client(arguments: Arguments) -> Run:
    target = text(only(arguments))

    async def run(turn: Turn) -> str:
        if not target:
            raise ServerError("no target")
        return string(f"client said {_shown(await turn.ask(turn, target))}")

    return run


def _shown(raw: str) -> str:
    """Return JSON as JsonElement.ToString shows it: lists and objects as they came."""
    if raw.startswith('"'):
        return text(raw) or ""
    return {"null": "", "true": "True", "false": "False"}.get(raw, raw)


PROBES: Final[dict[str, Method]] = {
    "echo": Method(_echo),
    "add": Method(_add),
    "nothing": Method(_nothing),
    "throw": Method(_throw),
    "throwhub": Method(_throw_hub),
    "whoami": Method(_who_am_i),
    "counter": Method(_counter, is_stream=True),
    "counterfail": Method(_counter_fail, is_stream=True),
    "sum": Method(_sum, uploads=1),
    "askclient": Method(_ask_client),
    "slow": Method(_slow),
    "emit": Method(_emit),
    "burst": Method(_burst),
    "big": Method(_big),
}
