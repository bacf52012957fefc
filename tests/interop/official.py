"""The official JavaScript client in a node process of its own, as an object to call."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from kit import Kit

from trio_projectx.flow.background import open_background_tasks

DRIVER = Path(__file__).resolve().parent / "driver.cjs"
#: No single thing that is asked of the client takes longer; those that wait on purpose wait for less.
CALL_S = 10.0


class OfficialError(Exception):
    """What the official client rejected a promise with, or told as the reason."""


class OfficialClient:
    """One process with one connection; the commands are those of driver.cjs."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked, self._to_ask = trio.open_memory_channel[bytes](64)
        self._arrived = trio.lowlevel.ParkingLot()
        self._ended = False

    async def do(self, command: str, **options: object) -> Any:
        """Run a command and return its result; None values are left out of the options.

        :raises OfficialError: if the client fails in it.
        """
        number = next(self._numbers)
        line = {"n": number, "do": command, **{k: v for k, v in options.items() if v is not None}}
        with trio.fail_after(CALL_S):
            await self._asked.send(json.dumps(line).encode() + b"\n")
            while number not in self._answers:
                assert not self._ended, "the driver has ended; its standard error says why"
                await self._arrived.park()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise OfficialError(answer["error"])
        return answer["result"]

    async def invoke(self, target: str, *args: object) -> Any:
        """Invoke a hub method and return its result."""
        return await self.do("invoke", target=target, args=args)

    async def failure(self, target: str, *args: object) -> str:
        """Invoke a hub method that is to fail, and return the error's text."""
        try:
            result = await self.invoke(target, *args)
        except OfficialError as exc:
            return str(exc)
        raise AssertionError(f"{target} returned {result!r}")

    async def told(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until the client told ``closed``, ``reconnecting`` or ``reconnected``; return all it told."""
        log: list[dict[str, Any]] = await self.do("told", event=event, count=count)
        return log

    async def records(self, way: str = "in") -> list[dict[str, Any]]:
        """Return the records that went ``in`` or ``out`` so far, of all WebSockets, decoded."""
        wire = await self.do("wire")
        text = "".join(entry["text"] for entry in wire if entry["way"] == way)
        return [json.loads(record) for record in text.split("\x1e")[:-1]]

    async def close_codes(self, ends: int = 1) -> list[int]:
        """Wait until so many WebSockets have ended; return their close codes."""
        wire = await self.do("wire", ends=ends)
        return [entry["code"] for entry in wire if entry["way"] == "end"]

    async def write(self) -> None:
        """Hand on what is asked, whichever task asks; a task of `open_official`."""
        assert self._process.stdin is not None
        async for line in self._to_ask:
            await self._process.stdin.send_all(line)

    async def read(self) -> None:
        """Take the driver's answers in until it ends; a task of `open_official`."""
        assert self._process.stdout is not None
        rest = b""
        try:
            async for chunk in self._process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    self._answers[answer["n"]] = answer
                self._arrived.unpark_all()
        finally:
            self._ended = True
            self._arrived.unpark_all()


@asynccontextmanager
async def open_official(kit: Kit) -> AsyncGenerator[OfficialClient]:
    """Run a driver for the length of the block."""
    command = ["node", str(DRIVER), kit.node_modules]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        async with open_background_tasks() as tasks:
            client = OfficialClient(process)
            tasks.start_soon(client.read)
            tasks.start_soon(client.write)
            yield client
    finally:
        process.kill()
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            await process.wait()
