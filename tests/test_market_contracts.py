from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._errors import ContractError
from trio_projectx.market.contracts import MONTHS, ContractId, front_month, products

HOSTILE = [
    "",
    "CON.F.US.MNQ.U26 ",
    " CON.F.US.MNQ.U26",
    "CON.F.US.MNQ.U26\n",
    "CON.F.US.MNQ.U26\x00",
    "CON.F.US.MNQ.U26\r\nHost: x",
    "con.f.us.mnq.u26",
    "CON.F.US.mnq.U26",
    "CON.F.US.MNQ.A26",
    "CON.F.US.MNQ.U6",
    "CON.F.US.MNQ.U026",
    "CON.F.US..U26",
    "CON.F.US.MNQMNQMNQ.U26",
    "CON.F.UK.MNQ.U26",
    "CON/F/US/MNQ/U26",
    "CONXFXUSXMNQXU26",
    "F.US.MNQ",
    "../../x",
    "CON.F.US.../../x.U26",
    "CON.F.US.MNQ.U\u0662\u0666",
    "CON.F.US.\u041cNQ.U26",
    "CON.F.US.M Q.U26",
    "A" * 300,
    "\x00",
    "%2e%2e",
    "<script>",
]


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def test_an_id_is_taken_apart() -> None:
    contract = ContractId.parse("CON.F.US.MNQ.U26")
    assert contract == ContractId("MNQ", "U", 2026)
    assert contract.symbol_id == "F.US.MNQ"
    assert str(contract) == "CON.F.US.MNQ.U26"


@given(st.from_regex(r"[A-Z0-9]{1,8}", fullmatch=True), st.sampled_from(MONTHS), st.integers(2000, 2099))
def test_every_id_comes_back(product: str, month: str, year: int) -> None:
    contract = ContractId(product, month, year)
    assert ContractId.parse(str(contract)) == contract


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_id_is_refused_in_words_that_can_be_printed(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        ContractId.parse(text)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("product", "month", "year"),
    [
        ("../x", "U", 2026),
        ("MNQ", "A", 2026),
        ("MNQ", "", 2026),
        ("MNQ", "U", 26),
        ("MNQ", "U", 2100),
        ("", "U", 2026),
    ],
)
def test_an_impossible_one_cannot_be_made(product: str, month: str, year: int) -> None:
    with pytest.raises(ContractError):
        ContractId(product, month, year)


@pytest.mark.parametrize(
    ("name", "date", "contract"),
    [
        ("MNQU6", "2026-08-19", "CON.F.US.MNQ.U26"),
        ("mnqu6", "2026-08-19", "CON.F.US.MNQ.U26"),
        ("MNQU26", "2020-01-01", "CON.F.US.MNQ.U26"),
        ("ESZ5", "2026-01-05", "CON.F.US.EP.Z25"),
        ("ESH0", "2029-12-05", "CON.F.US.EP.H30"),
        ("NQM6", "2026-01-01", "CON.F.US.ENQ.M26"),  # not the E-mini crude NQM
        ("QMX6", "2026-01-01", "CON.F.US.NQM.X26"),
        ("M2KH7", "2026-12-01", "CON.F.US.M2K.H27"),
        ("6EZ6", "2026-12-01", "CON.F.US.EU6.Z26"),
        ("GCZ13", "2013-10-07", "CON.F.US.GCE.Z13"),
    ],
)
def test_a_name_is_read_as_of_a_day(name: str, date: str, contract: str) -> None:
    assert str(ContractId.from_name(name, day(date))) == contract


@pytest.mark.parametrize(
    "name", ["", "MNQ", "U6", "MNQA6", "MNQU", "MNQU226", "XXXXU6", "A" * 300, "\u041cNQU6", "6", "\x00"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ContractError):
        ContractId.from_name(name, day("2026-08-19"))


@pytest.mark.parametrize(
    ("product", "date", "contract"),
    [
        # The third Friday of September 2026 is the 18th; it rolls on the 10th.
        ("MNQ", "2026-06-11", "MNQ.U26"),
        ("MNQ", "2026-09-09", "MNQ.U26"),
        ("MNQ", "2026-09-10", "MNQ.Z26"),
        ("ES", "2026-12-31", "EP.H27"),
        # The second Friday is the 11th.
        ("NKD", "2026-09-02", "NKD.U26"),
        ("NKD", "2026-09-03", "NKD.Z26"),
        # The third Wednesday is the 16th.
        ("6E", "2026-09-09", "EU6.U26"),
        ("6E", "2026-09-10", "EU6.Z26"),
        ("ZN", "2026-08-19", "TYA.U26"),
        ("ZN", "2026-08-20", "TYA.Z26"),
        ("CL", "2026-08-15", "CLE.U26"),
        ("CL", "2026-08-16", "CLE.V26"),
        ("CL", "2026-12-31", "CLE.G27"),
        ("NG", "2026-08-19", "NGE.U26"),
        ("NG", "2026-08-20", "NGE.V26"),
        ("GC", "2026-07-19", "GCE.Q26"),
        ("GC", "2026-07-20", "GCE.V26"),
        ("MGC", "2026-11-20", "MGC.G27"),
        ("SI", "2026-08-19", "SIE.U26"),
        ("SI", "2026-11-20", "SIE.H27"),
        ("PL", "2026-09-19", "PLE.V26"),
        ("PL", "2026-09-20", "PLE.F27"),
        ("ZC", "2026-10-01", "ZCE.Z26"),
        ("ZS", "2026-08-20", "ZSE.X26"),
        ("ZM", "2026-08-20", "ZME.V26"),
        ("ZL", "2026-11-20", "ZLE.F27"),
        ("LE", "2026-08-19", "GLE.V26"),
        ("HE", "2026-04-20", "HE.M26"),
        # The last Friday of August 2026 is the 28th; it rolls on the 24th.
        ("MBT", "2026-08-23", "MBT.Q26"),
        ("MBT", "2026-08-24", "MBT.U26"),
        ("MET", "2026-12-31", "GMET.F27"),
        ("MBT", "2026-12-20", "MBT.Z26"),
    ],
)
def test_the_front_month_by_rule(product: str, date: str, contract: str) -> None:
    assert str(front_month(product, day(date))) == f"CON.F.US.{contract}"


@given(st.sampled_from([p.code for p in products()]), st.dates(day("2001-01-01"), day("2097-12-31")))
def test_the_front_month_only_moves_on_and_is_never_past_its_delivery(
    product: str, date: datetime.date
) -> None:
    def order(contract: ContractId) -> tuple[int, int]:
        return contract.year, MONTHS.index(contract.month)

    today = front_month(product, date)
    tomorrow = front_month(product, date + datetime.timedelta(days=1))
    assert order(today) <= order(tomorrow)
    assert order(today) >= (date.year, date.month - 1)
    assert today.product == product


def test_an_unknown_product_has_no_front_month() -> None:
    with pytest.raises(ContractError):
        front_month("NOSUCH", day("2026-08-19"))
