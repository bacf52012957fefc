from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx._errors import ContractError
from trio_projectx.market.products import MONTHS, find_product, products

# GATEWAY.md section 3, as it stands there.
TABLE = """
BP6 .0001/6.25 · CA6 .00005/5 · CLE .01/10 · CPE .0005/12.5 · DA6 .00005/5 · EEU .0001/6.25 · ENQ
.25/5 · EP .25/12.5 · EU6 .00005/6.25 · FVA .0078125/7.8125 · GCE .1/10 · GLE .025/10 · GMET .5/.05
· HE .025/10 · HOE .0001/4.2 · JY6 .0000005/6.25 · M2K .1/.5 · M6A .0001/1 · M6B .0001/.625 · M6E
.0001/1.25 · MBT 5/.5 · MCLE .01/1 · MES .25/1.25 · MGC .1/1 · MHG .0005/1.25 · MNG .001/1 · MNQ
.25/.5 · MX6 .00001/5 · MYM 1/.5 · NE6 .00005/5 · NGE .001/10 · NKD 5/25 · NQG .005/12.5 · NQM
.025/12.5 · PLE .1/5 · RBE .0001/4.2 · RTY .1/5 · SF6 .00005/6.25 · SIE .005/25 · SIL .005/5 · TNA
.015625/15.625 · TUA .00390625/7.8125 · TYA .015625/15.625 · ULA .03125/31.25 · USA .03125/31.25 ·
YM 1/5 · ZCE .25/12.5 · ZLE .01/6 · ZME .1/10 · ZSE .25/12.5 · ZWA .25/12.5 · EMD .1/10
"""
TICKERS = """
ES→EP NQ→ENQ CL→CLE MCL→MCLE GC→GCE SI→SIE HG→CPE NG→NGE RB→RBE HO→HOE PL→PLE QM→NQM QG→NQG 6A→DA6
6B→BP6 6C→CA6 6E→EU6 6J→JY6 6M→MX6 6N→NE6 6S→SF6 E7→EEU ZF→FVA ZN→TYA ZT→TUA ZB→USA UB→ULA TN→TNA
ZC→ZCE ZL→ZLE ZM→ZME ZS→ZSE ZW→ZWA LE→GLE MET→GMET
"""


def test_the_tick_table_is_the_services() -> None:
    facts = {
        (code, Decimal(size), Decimal(value))
        for code, size, value in re.findall(r"(\w+)\s+([\d.]+)/([\d.]+)", TABLE)
    }
    assert len(facts) == 52
    assert {(p.code, p.tick_size, p.tick_value) for p in products()} == facts
    assert len(products()) == 52


def test_the_tickers_are_the_exchanges() -> None:
    pairs = dict(pair.split("→") for pair in TICKERS.split())
    assert {p.ticker: p.code for p in products() if p.ticker is not None} == pairs
    for ticker, code in pairs.items():
        assert find_product(ticker).code == code


def test_no_name_means_two_products() -> None:
    names = [p.code for p in products()] + [p.ticker for p in products() if p.ticker is not None]
    assert len(names) == len(set(names))


def test_every_grid_is_that_of_the_tick_size() -> None:
    for product in products():
        assert Decimal(product.grid.num) / Decimal(product.grid.den) == product.tick_size
        assert product.grid.ticks(float(product.tick_size * 1001)) == 1001


def test_delivery_months_are_in_the_order_of_the_year() -> None:
    for product in products():
        assert product.months
        assert list(product.months) == sorted(set(product.months), key=MONTHS.index)


@pytest.mark.parametrize("text", ["MNQ", "mnq", " MNQ ", "Mnq\n"])
def test_case_and_spaces_around_are_free(text: str) -> None:
    assert find_product(text).code == "MNQ"


@pytest.mark.parametrize(("text", "meant"), [("MNQQ", "MNQ"), ("ESS", "ES"), ("EPP", "EP"), ("MYN", "MYM")])
def test_a_near_miss_is_told_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(ContractError, match=rf"did you mean .*\b{meant}\b"):
        find_product(text)


@pytest.mark.parametrize("text", ["MNQU6", "mnqu26", "ESZ5", "CON.F.US.MNQ.U26", "6EZ6"])
def test_an_expiry_is_not_thrown_away(text: str) -> None:
    with pytest.raises(ContractError, match="one expiry"):
        find_product(text)


@pytest.mark.parametrize(
    "text", ["", " ", "../../x", "\r\n", "\x00", "A" * 300, "A" * 1_000_000, "\u041cNQ", "U6", "6", "CON."]
)
def test_hostile_texts_are_refused_in_words_that_can_be_printed(text: str) -> None:
    with pytest.raises(ContractError) as caught:
        find_product(text)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 250


@given(st.text(max_size=60))
def test_any_text_gives_a_product_or_a_contract_error(text: str) -> None:
    try:
        product = find_product(text)
    except ContractError:
        return
    assert text.strip().upper() in (product.code, product.ticker)
