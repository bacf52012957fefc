"""The records that a hub writes, as text: templates over JSON that is there already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trio_projectx.signalr import Close, Ping, write_message
from trio_projectx.simulator.json_text import string

_END: Final = "\x1e"
PING: Final = write_message(Ping())
CLOSE: Final = write_message(Close())
CLOSE_AND_COME_BACK: Final = write_message(Close(allow_reconnect=True))
#: For every fault of the client: a record that cannot be read or is too long, silence (SIGNALR.md section 7).
CLOSE_WITH_ERROR: Final = write_message(Close(error="Connection closed with an error.", allow_reconnect=True))


def completed(invocation_id: str, result: str | None) -> str:
    """Return the record that ends a call with ``result`` (JSON), or a stream (None)."""
    shown = "" if result is None else f',"result":{result}'
    return f'{{"type":3,"invocationId":{string(invocation_id)}{shown}}}{_END}'


def failed(invocation_id: str, error: str) -> str:
    """Return the record that ends a call or a stream with an error."""
    return f'{{"type":3,"invocationId":{string(invocation_id)},"error":{string(error)}}}{_END}'


def streamed(invocation_id: str, item: str) -> str:
    """Return the record of one item (JSON) of a stream."""
    return f'{{"type":2,"invocationId":{string(invocation_id)},"item":{item}}}{_END}'


def event(target: str, arguments: Iterable[str], invocation_id: str | None = None) -> str:
    """Return the record that calls ``target`` at the client; ``arguments`` are JSON each."""
    wants = "" if invocation_id is None else f'"invocationId":{string(invocation_id)},'
    return f'{{"type":1,{wants}"target":{string(target)},"arguments":[{",".join(arguments)}]}}{_END}'
