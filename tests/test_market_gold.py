"""Three days of real gold trades in the words of the wire and read back: nothing lost, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from trio_projectx._config import Limits
from trio_projectx.market import ContractId, Decoder, Reason, Validator, find_product, format_stamp

CONTRACT = str(ContractId("GCE", "Z", 2013))


def test_real_trades_come_through_exactly(shared: Path) -> None:
    table = pq.read_table(shared / "data" / "gc_trades_2013.parquet")
    rows = list(zip(*(table.column(name).to_pylist() for name in ("ts_ns", "price", "size")), strict=True))
    grid, limits = find_product("GC").grid, Limits()
    decoder = Decoder()
    validator = Validator(
        CONTRACT,
        grid,
        stamp_min_ns=limits.stamp_min_ns,
        stamp_max_ns=limits.stamp_max_ns,
        trade_size_max=limits.trade_size_max,
    )
    got: list[tuple[int, float, int]] = []
    for start in range(0, len(rows), 500):
        text = "".join(
            f'{{"type":1,"target":"GatewayTrade","arguments":["{CONTRACT}",[{{"symbolId":"F.US.GCE","price":{price!r},'
            f'"timestamp":"{format_stamp(ts)}","type":0,"volume":{size},"contractId":"{CONTRACT}"}}]]}}\x1e'
            for ts, price, size in rows[start : start + 500]
        )
        decoded = decoder.bulk(text)
        assert decoded is not None
        batch = validator.validate(decoded.trades[CONTRACT], start)
        assert batch is not None
        got += zip(batch.ts_event, map(grid.price, batch.ticks), batch.volume, strict=True)
    assert got == [row for row in rows if row[2] > 0]
    assert validator.rejected.size == validator.rejected.total == sum(row[2] == 0 for row in rows) == 296
    assert {rejection.reason for rejection in validator.rejections} == {Reason.SIZE}
