"""The table of open calls by itself; what a connection makes of it is in test_signalr_connection.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx.signalr import (
    CallCompleted,
    CallFailed,
    CancelInvocation,
    Completion,
    Ignored,
    Invocation,
    InvocationReceived,
    LocalProtocolError,
    StreamEnded,
    StreamInvocation,
    StreamItem,
    Why,
)
from trio_projectx.signalr.calls import CallTable


def test_failing_all_forgets_everything() -> None:
    table = CallTable()
    table.sending(Invocation(target="A", arguments=[], invocation_id="a", stream_ids=["u"]))
    table.sending(StreamInvocation(target="B", arguments=[], invocation_id="b"))
    theirs = Invocation(target="R", arguments=[], invocation_id="s1")
    table.called(theirs)
    assert table.owes_answer("s1")
    assert table.fail_all("gone") == [CallFailed("a", "gone"), CallFailed("b", "gone")]
    assert (table.open_calls, table.owed_answers) == (0, 0)
    assert not table.owes_answer("s1")
    for late in (StreamItem(invocation_id="u", item=1), Completion(invocation_id="s1")):
        with pytest.raises(LocalProtocolError):
            table.sending(late)
    assert table.called(theirs) == InvocationReceived(theirs)


def test_fresh_ids_are_taken_by_sending_only() -> None:
    table = CallTable(first_id=7)
    assert [table.fresh_id(), table.fresh_id()] == ["7", "7"]
    table.sending(Invocation(target="A", arguments=[], invocation_id="7"))
    table.completed(Completion(invocation_id="7"))
    assert table.fresh_id() == "8"
    assert table.next_id == 8


IDS = st.sampled_from(["1", "2", "x"])
STEPS = st.lists(
    st.builds(Invocation, target=st.just("T"), arguments=st.just([]), invocation_id=IDS)
    | st.builds(StreamInvocation, target=st.just("T"), arguments=st.just([]), invocation_id=IDS)
    | st.builds(CancelInvocation, invocation_id=IDS)
    | st.builds(StreamItem, invocation_id=IDS, item=st.integers())
    | st.builds(Completion, invocation_id=IDS, error=st.none() | st.just("e")),
    max_size=20,
)


@given(STEPS)
def test_each_open_call_ends_once(
    steps: list[Invocation | StreamInvocation | CancelInvocation | StreamItem | Completion],
) -> None:
    """Against a model that is just a dict; items and completions are what the server sends here."""
    table = CallTable()
    model: dict[str, type] = {}
    for step in steps:
        key = step.invocation_id
        assert key is not None
        known = key in model
        match step:
            case Invocation() | StreamInvocation():
                if known:
                    with pytest.raises(LocalProtocolError):
                        table.sending(step)
                else:
                    table.sending(step)
                    model[key] = type(step)
            case CancelInvocation():
                if known:
                    table.sending(step)
                    del model[key]
                else:
                    with pytest.raises(LocalProtocolError):
                        table.sending(step)
            case StreamItem():
                event = table.item(step)
                assert (event == Ignored(Why.UNKNOWN_CALL)) is not known
                if isinstance(event, CallFailed):
                    assert model.pop(key) is Invocation
            case Completion():
                ended = table.completed(step)
                kind = model.pop(key, None)
                expected = {None: Ignored, Invocation: CallCompleted, StreamInvocation: StreamEnded}[kind]
                assert isinstance(ended, CallFailed if kind and step.error else expected)
        assert table.open_calls == len(model)
    assert [failed.invocation_id for failed in table.fail_all("gone")] == list(model)
