"""Which trades of the truth went to which connection: the proof of what a client was sent, and what it missed."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections import deque

import attrs
import pyarrow as pa

#: Deliveries that are remembered; the oldest go first.
KEPT = 100_000

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("connection_id", pa.string()),
    ("contract_id", pa.string()),
    ("first_seq", pa.int64()),
    ("last_seq", pa.int64()),
    ("opened", pa.int64()),
    ("closed", pa.int64()),
]
SCHEMA = pa.schema(_FIELDS)


@attrs.define(slots=True, eq=False)
class Delivery:
    """One subscription of one connection to the trades of one contract, from its begin to its end.

    Every trade of the contract that the truth numbers ``first_seq`` to ``last_seq`` was handed to the connection
    for sending, in order and once. Both are None while nothing was. ``opened`` and ``closed`` are market time
    in int64 ns; ``closed`` is None while the subscription lasts.
    """

    connection_id: str
    contract_id: str
    opened: int
    first_seq: int | None = None
    last_seq: int | None = None
    closed: int | None = None

    def sent(self, first: int, last: int) -> None:
        """Note that the contract's trades with the numbers ``first`` to ``last`` were handed over."""
        if self.first_seq is None:
            self.first_seq = first
        self.last_seq = last


@attrs.define(slots=True, eq=False)
class Deliveries:
    """All deliveries of a simulator, in the order in which they were opened; the last `KEPT` of them."""

    _all: deque[Delivery] = attrs.Factory(lambda: deque[Delivery](maxlen=KEPT))

    def open(self, connection_id: str, contract_id: str, now_ns: int) -> Delivery:
        """Begin one."""
        delivery = Delivery(connection_id, contract_id, now_ns)
        self._all.append(delivery)
        return delivery

    def table(self) -> pa.Table:
        """Return them as an Arrow table with the columns of `SCHEMA`."""
        columns = [[getattr(delivery, name) for delivery in self._all] for name in SCHEMA.names]
        return pa.Table.from_arrays(
            [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)],
            schema=SCHEMA,
        )
