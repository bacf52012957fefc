"""Clears the local variables of frames that an error has left: some hold the token or the API key.

A traceback holds its frames, and what prints local variables with it (rich's ``show_locals``, ``pytest -l``, Sentry)
would show them. Frames of others than ours and our dependencies are never touched.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Final, cast

_WHOSE: Final = ("trio_projectx", "httpx2", "httpcore2", "h11", "wsproto", "trio_websocket")
#: Of trio what carries bytes; its tasks and nurseries hold nothing of ours.
_TRIO: Final = ("trio._highlevel_", "trio._ssl", "trio._socket", "trio.testing._memory_streams")


def forget_locals(exc: BaseException, ambient: BaseException | None) -> None:
    """Clear the frames of ``exc``, of its causes and of what it came in the midst of, but for ``ambient``.

    For the frame that awaited all of them, where it handles ``exc``: the frames below it have ended, and those above
    still run, so that they cannot be cleared. ``ambient`` is what was being handled when that frame began: its frames
    are of somebody else, and may be waiting.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [exc]
    while todo:
        each = todo.pop()
        if each is None or each is ambient or id(each) in seen:
            continue
        seen.add(id(each))
        _clear(each.__traceback__)
        todo += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            todo += cast("BaseExceptionGroup[BaseException]", each).exceptions


def _clear(traceback: TracebackType | None) -> None:
    while traceback is not None:
        frame = traceback.tb_frame
        if _is_ours(frame.f_globals.get("__name__")):
            with suppress(RuntimeError):  # it still runs, or (from Python 3.13 on) waits
                frame.clear()
        traceback = traceback.tb_next


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and (name.partition(".")[0] in _WHOSE or name.startswith(_TRIO))
