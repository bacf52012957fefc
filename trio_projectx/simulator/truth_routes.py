"""The truth and the deliveries over HTTP: as an Arrow IPC stream, or as JSON lines (``format=json``)."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
import pyarrow as pa

from trio_projectx.simulator import deliveries, truth
from trio_projectx.simulator.http import Request, Response, problem

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON_LINES: Final = "application/x-ndjson"


def answer_truth(log: truth.TruthLog, request: Request) -> Response:
    """Answer ``GET /control/truth[?contract=ID][&from_seq=N][&format=json]``: what is there now, piece by piece."""
    asked = request.query.get("from_seq", "0")
    if not (asked.isascii() and asked.isdigit() and len(asked) < 19):
        return problem(400, "from_seq must be a number, 0 or more")
    batches = log.batches(request.query.get("contract"), int(asked))
    return _streamed(request, truth.SCHEMA, batches)


def answer_deliveries(known: deliveries.Deliveries, request: Request) -> Response:
    """Answer ``GET /control/deliveries[?format=json]``."""
    return _streamed(request, deliveries.SCHEMA, known.table().to_batches(10_000))


def _streamed(request: Request, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Response:
    wanted = request.query.get("format", "arrow")
    if wanted not in ("arrow", "json"):
        return problem(400, "format is arrow or json")
    if wanted == "json":
        return Response(content_type=JSON_LINES, chunks=_pieces(_json_lines, schema, batches))
    return Response(content_type=ARROW, chunks=_pieces(_arrow, schema, batches))


def _pieces(
    write: Callable[[pa.Schema, Iterable[pa.RecordBatch]], Iterator[bytes]],
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> Callable[[], Iterator[bytes]]:
    return lambda: write(schema, batches)


def _arrow(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield _drained(sink)
    yield _drained(sink)


def _drained(sink: io.BytesIO) -> bytes:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data


def _json_lines(_: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for batch in batches:
        for start in range(0, batch.num_rows, 2000):  # some milliseconds each: the market goes on between
            yield encoder.encode_lines(batch.slice(start, 2000).to_pylist())
