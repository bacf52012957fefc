from __future__ import annotations

import base64
import json
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
        str({"userName": "u", "apiKey": "SECRET"}),
        str({"a": "it's", "apiKey": "SECRET"}),
        str({"token": "SECRET", "newToken": "SECRET"}),
        "Credentials(username='u', api_key='SECRET and more SECRET')",
        'login(api_key = "SECRET")',
        "Token(token='SECRET')",
        "apiKey: SECRET",
        "apiKey=SECRET",
        "x-api-key: SECRET",
        "X-API-Key:SECRET",
        "PROJECT_X_API_KEY=SECRET",
        json.dumps({"body": json.dumps({"apiKey": "SECRET", "token": "SECRET"})}),
        json.dumps(json.dumps({"body": json.dumps({"apiKey": "SECRET", "token": "SECRET"})})),
        repr("{'token': 'SECRET'} \"{'apiKey': 'SECRET'}\""),
        "apiKey='SECRET",
    ],
)
def test_secrets_go_by_their_form(text: str) -> None:
    clean = redact(text)
    assert "SECRET" not in clean
    assert "eyJ" not in clean
    assert "[redacted]" in clean


@pytest.mark.parametrize(
    "text",
    [
        "market hub: no record for 30 s from https://rtc.topstepx.com/hubs/market (code 1006)",
        "the token was renewed; the API key was refused",
        "no token: the service answered with 401",
        "eyJ is how a token begins",
        "monkey: 3",
        "contractId=CON.F.US.MNQ.Z26 symbolId=F.US.MNQ order_id=7",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


@given(st.integers(0, 300), st.integers(0, 900))
def test_a_token_whose_end_was_cut_shows_nothing_of_its_claims(before: int, pad: int) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "user", "pad": "y" * pad}).encode()).decode()
    shown = escape(f"{'x' * before} eyJhbGciOiJIUzI1NiJ9.{claims.rstrip('=')}.{'S' * 43}", 1200)
    assert claims[:8] not in shown
    assert "eyJ" not in shown
    cut = escape(f"{'x' * before} eyJhbGciOiJIUzI1NiJ9.{claims.rstrip('=')}.{'S' * 43}")
    assert claims[:8] not in cut


@given(
    st.lists(
        st.sampled_from(
            ["apiKey", "api_key=", "token", "'", '"', ":", "=", " ", "\\", "SECRET", "bearer ", "id=", "x"]
        ),
        max_size=12,
    ).map("".join)
)
def test_what_is_redacted_already_stays_as_it_is(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


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
    "apiKey: ",
    "x-api-key='",
    "'token': '",
    "toKen = ",
    "'",
    "\\",
]
PIECES += ["K", "ſ", "İ", '"', " ", "&", "connectionToKen=", "baſe", "BEARER \u2003q"]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_what_is_looked_for_first_hides_no_form(text: str) -> None:
    wanted = text
    for _, form in _redact._FORMS:
        wanted = form.sub(r"\1[redacted]", wanted)
    assert redact(text) == wanted
