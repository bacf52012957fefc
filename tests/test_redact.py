from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import _redact
from trio_projectx._redact import escape, hide, install_redaction, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"wss://host/hubs/market?id=SECRET&access_token={JWT}",
        f"Authorization: Bearer {JWT}",
        "authorization: bearer SECRET",
        '{"token": "SECRET", "newToken":"SECRET"}',
        '{"apiKey":"SECRET"}',
        f"GET /hubs/market?access_token=SECRET#x {JWT} end",
        "id=SECRET",
    ],
)
def test_secrets_go_by_their_form(text: str) -> None:
    clean = redact(text)
    assert "SECRET" not in clean
    assert "eyJ" not in clean
    assert "[redacted]" in clean


def test_other_text_stays() -> None:
    text = "market hub: no record for 30 s from https://rtc.topstepx.com/hubs/market (code 1006)"
    assert redact(text) == text


@given(st.text(), st.integers(4, 300))
def test_escaped_text_is_one_short_printable_line(text: str, limit: int) -> None:
    shown = escape(text, limit)
    assert len(shown) <= limit
    assert shown.isascii()
    assert shown.isprintable()


def test_the_filter_cleans_records_of_our_dependencies(caplog: pytest.LogCaptureFixture) -> None:
    install_redaction()
    install_redaction()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("trio-websocket").debug(
            "Connecting to %s", "wss://h/hubs/market?access_token=SECRET"
        )
        logging.getLogger("httpx2").info("plain %s", "text")
    assert "SECRET" not in caplog.text
    assert "plain text" in caplog.text
    assert len(logging.getLogger("httpx2").filters) == 1


@given(st.integers(12, 60), st.text(alphabet="abc .:", max_size=20))
def test_a_secret_that_was_cut_is_hidden_too(kept: int, before: str) -> None:
    secret = "".join(chr(ord("A") + n % 26) for n in range(60))
    shown = hide(f"{before}{secret[:kept]}... and {secret}", [secret])
    assert "ABCD" not in shown
    assert shown.startswith(before)
    assert shown.endswith("... and [redacted]")


def test_what_only_resembles_a_secret_stays() -> None:
    secret = "".join(chr(ord("A") + n % 26) for n in range(60))
    assert hide(f"code {secret[:11]}x", [secret, "abc"]) == f"code {secret[:11]}x"


PIECES = [
    "BeArEr ",
    "bearer\n",
    "=",
    "id=",
    "API_KEY=",
    '"token": "',
    '"ToKen":"',
    "eyJabcd.efgh.",
    "eyJ",
    "abcdef",
    "x.y",
]
PIECES += ["K", "ſ", "İ", '"', " ", "&", "connectionToKen=", "baſe", "BEARER \u2003q"]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_what_is_looked_for_first_hides_no_form(text: str) -> None:
    wanted = text
    for _, form in _redact._FORMS:
        wanted = form.sub(r"\1[redacted]", wanted)
    assert redact(text) == wanted
