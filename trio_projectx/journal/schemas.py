"""The columns of what is recorded, and the version of the format that every file carries."""

# pyarrow's stubs leave the type parameters of fields open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from trio_projectx._errors import ProtocolError
from trio_projectx.journal.layout import KINDS, Kind

#: Readers take this version and all before it.
FORMAT: Final = 1
_FORMAT_KEY: Final = b"trio_projectx.format"
_KIND_KEY: Final = b"trio_projectx.kind"
_INT: Final = pa.int64()
_FLOAT: Final = pa.float64()
_COLUMNS: Final[Mapping[Kind, Mapping[str, pa.DataType]]] = {
    # What a pipeline of market data was told, in its order. A frame is a text as the hub sent it; a mark, in JSON, is
    # anything else that decides what becomes of frames (`flow.marks`). `now` is trio's clock of the recording.
    "frames": {"ts_recv": _INT, "epoch": _INT, "now": _FLOAT, "what": pa.string(), "text": pa.string()},
    # Batches of a contract are counted; a number left out, or a smaller one, says that trades are missing before it.
    "trades": {
        "ts_event": _INT,
        "ts_recv": _INT,
        "price": _FLOAT,
        "volume": _INT,
        "side": pa.int8(),
        "batch": _INT,
    },
    # Rows of the order book, in their order; `price` is null where the row has none, `what` is a `DepthKind`.
    "depth": {"ts_event": _INT, "ts_recv": _INT, "what": pa.int8(), "price": _FLOAT, "size": _INT},
    # The grid of a contract's prices, once for each date of a recording and more: whole multiples of `num / den`.
    "instruments": {"ts_recv": _INT, "num": _INT, "den": _INT},
    "quotes": {
        "ts_event": _INT,
        "ts_recv": _INT,
        "bid": _FLOAT,
        "ask": _FLOAT,
        "last": _FLOAT,
        "open": _FLOAT,
        "high": _FLOAT,
        "low": _FLOAT,
        "change": _FLOAT,
        "change_percent": _FLOAT,
        "volume": _INT,
    },
}
SCHEMAS: Final[Mapping[Kind, pa.Schema]] = {
    kind: pa.schema(
        list(columns.items()), metadata={_FORMAT_KEY: str(FORMAT).encode(), _KIND_KEY: kind.encode()}
    )
    for kind, columns in _COLUMNS.items()
}


class UnknownFormat(ProtocolError):
    """A file of a newer version of the format, or none of ours: it is left alone, not quarantined."""


def check_schema(schema: pa.Schema) -> Kind:
    """Return what kind of records a file holds.

    :raises UnknownFormat: if its version is newer than ours, or it has none, or other columns than its version.
    """
    metadata = schema.metadata or {}
    version, kind = metadata.get(_FORMAT_KEY, b""), metadata.get(_KIND_KEY, b"").decode("ascii", "replace")
    if not version.isdigit() or kind not in KINDS:
        raise UnknownFormat("the file does not say which format of a journal it has")
    if int(version) > FORMAT:
        raise UnknownFormat(f"the file has format {int(version)}, and this version reads up to {FORMAT}")
    for known in KINDS:
        if known == kind and schema.remove_metadata().equals(SCHEMAS[known].remove_metadata()):
            return known
    raise UnknownFormat(f"the columns of the file are not those of {kind} in format {int(version)}")
