"""What ``trio-projectx doctor`` has found: frozen facts, for lines, a table, or JSON."""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

import trio_projectx as px
from trio_projectx.flow.ledger import Ledger, Row
from trio_projectx.flow.sketch import Distribution
from trio_projectx.gateway_statistics import GatewayStatistics


class Verdict(enum.Enum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """It works, and something should be looked at."""
    FAIL = "fail"
    SKIP = "skip"
    """It could not be looked at, because of a check before it or of the time of day."""


@attrs.frozen(slots=True)
class Finding:
    """One check: what it was of, how it came out, and a sentence."""

    check: str
    verdict: Verdict
    sentence: str
    seconds: float | None = None
    """How long it took, where that says something."""


@attrs.define(slots=True)
class Findings:
    """All of them, in the order in which they were made; each is told as it comes."""

    tell: Callable[[Finding], None]
    all: list[Finding] = attrs.field(factory=list[Finding])
    counted: GatewayStatistics | None = None
    """What the gateway had counted at the end; None if none was opened."""

    def add(self, check: str, verdict: Verdict, sentence: str, seconds: float | None = None) -> None:
        """Note one more."""
        finding = Finding(check, verdict, sentence, seconds)
        self.all.append(finding)
        self.tell(finding)

    def failed(self, check: str, exc: Exception) -> None:
        """Note one that raised; the texts of our errors carry no secret, and what others said is escaped in them."""
        self.add(check, Verdict.FAIL, str(exc) or type(exc).__name__)

    @property
    def is_well(self) -> bool:
        """Whether no check failed."""
        return all(each.verdict is not Verdict.FAIL for each in self.all)

    def as_json(self) -> dict[str, object]:
        """Return all of it, as JSON has it."""
        counted = self.counted
        return {
            "ok": self.is_well,
            "checks": [
                {
                    "check": each.check,
                    "verdict": each.verdict.value,
                    "sentence": each.sentence,
                    "seconds": each.seconds,
                }
                for each in self.all
            ],
            "latency": None if counted is None else _latency(counted),
            "ledger": None if counted is None else _ledger(counted.ledger),
        }


def _latency(counted: GatewayStatistics) -> dict[str, dict[str, int]]:
    found = counted.latency
    return {"wire_to_bar_ns": _spread(found.wire_to_bar), "event_lag_ns": _spread(found.event_lag)}


def _spread(found: Distribution) -> dict[str, int]:
    return {"count": found.count, "p50": found.p50, "p99": found.p99, "max": found.max}


def _ledger(ledger: Ledger) -> dict[str, object]:
    every: list[Row] = [*ledger.rows, *ledger.contracts, ledger.user, *ledger.streams, *ledger.closed]
    return {"balanced": ledger.balanced, "rows": [_row(row) for row in every]}


def _row(row: Row) -> dict[str, object]:
    numbers = {
        field.name: getattr(row, field.name) for field in attrs.fields(type(row)) if field.type == "int"
    }
    return {"row": row.name, "balanced": row.balanced, **numbers}


def session_sentence(contract_id: str, now_ns: int) -> tuple[bool | None, str]:
    """Return whether the market of a contract is open (None: nobody knows), and a sentence."""
    product = px.market.ContractId.parse(contract_id).product
    try:
        around = px.Sessions.for_product(product).around(now_ns)
    except px.ConfigError:
        return None, f"the hours of {product} are not known"
    if around.here is not None:
        return True, f"the market of {product} is open"
    opens = "" if around.after is None else f" until {px.to_datetime(around.after.open):%Y-%m-%d %H:%M} UTC"
    return False, f"the market of {product} is closed{opens}"
