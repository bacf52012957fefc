from __future__ import annotations

import gc
import weakref

from trio_projectx.handlers.failures import FailureBook, FailureCount, describe


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("and this too")


def test_text_is_escaped_capped_and_had_where_there_is_none() -> None:
    assert describe(ValueError("a\nb\x1b[31m access_token=hunter2 c")) == (
        "ValueError",
        r"a\nb\x1b[31m access_token=[redacted] c",
    )
    assert describe(Broken()) == ("Broken", "(its text cannot be had)")
    kind, text = describe(type("E" * 5000, (Exception,), {})("x" * 10_000_000))
    assert (len(kind), len(text)) == (80, 200)


def test_kinds_are_bounded_and_nothing_is_uncounted() -> None:
    book = FailureBook()
    for n in range(100):
        book.note(f"E{n}", str(n))
        book.note("E1", "again")
    counts = book.counts()
    assert [each.type for each in counts] == [*(f"E{n}" for n in range(8)), "others"]
    assert counts[1] == FailureCount("E1", 101, "again")
    assert counts[-1] == FailureCount("others", 92, "E99: 99")
    assert sum(each.count for each in counts) == book.total == 200
    assert book.last == "E1: again"


def test_no_exception_is_kept() -> None:
    book = FailureBook()
    exc = Broken()
    gone = weakref.ref(exc)
    book.note(*describe(exc))
    del exc
    gc.collect()
    assert gone() is None
