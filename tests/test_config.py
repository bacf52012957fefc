from __future__ import annotations

import copy
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import attrs
import pytest

from trio_projectx import (
    ConfigError,
    Credentials,
    Endpoint,
    GatewayConfig,
    HistoryOptions,
    JournalOptions,
    Limits,
    MemoryOptions,
    Reconnect,
    Refresh,
    Timeouts,
)

SECRET = "s3cret-key"


def test_from_env_reads_what_the_docs_name() -> None:
    config = GatewayConfig.from_env(
        {
            "PROJECTX_USERNAME": "me",
            "PROJECTX_API_KEY": f"{SECRET}\n",
            "PROJECTX_REST_URL": "https://api.example.com",
            "PROJECTX_MARKET_HUB_URL": "https://rtc.example.com/hubs/market",
        }
    )
    assert config.credentials.reveal() == (SECRET, "api_key")
    assert config.endpoints.rest_url == "https://api.example.com"
    assert config.endpoints.user_hub_url == "https://rtc.topstepx.com/hubs/user"
    assert SECRET not in repr(config)


def test_from_env_uses_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECTX_USERNAME", "me")
    monkeypatch.delenv("PROJECTX_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="PROJECTX_API_KEY"):
        GatewayConfig.from_env()


ENV = {"PROJECTX_USERNAME": "me", "PROJECTX_API_KEY": SECRET}
REST, MARKET, USER = "PROJECTX_REST_URL", "PROJECTX_MARKET_HUB_URL", "PROJECTX_USER_HUB_URL"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({REST: " https://api.topstepx.com\n"}, None),
        ({REST: "https://api.a.b", MARKET: "https://rtc.a.b/m", USER: " https://rtc.a.b/u "}, None),
        ({REST: "https://api.a.b"}, f"sets {REST}, and not {MARKET} and {USER}: "),
        ({REST: "https://a.b", MARKET: "https://rtc.a.b/m", USER: " "}, f"sets {REST} and {MARKET}, and not {USER}:"),
    ],
)  # fmt: skip
def test_addresses_of_two_firms_are_told(
    caplog: pytest.LogCaptureFixture, changes: dict[str, str], says: str | None
) -> None:
    config = GatewayConfig.from_env({**ENV, **changes})
    assert len(caplog.records) == (says is not None)
    assert says is None or says in caplog.text
    assert isinstance(config.endpoints, Endpoint)
    for name, url in changes.items():  # stripped, as credentials are
        field = {REST: "rest_url", MARKET: "market_hub_url", USER: "user_hub_url"}[name]
        assert getattr(config.endpoints, field) == (url.strip() or "https://rtc.topstepx.com/hubs/user")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://h/a b", "white space"),
        (" https://h", "white space"),
        ("https://h\n", "white space"),
        ("https://h/\x1b[31m", "control character"),
        ("https://h/\u00a0", "white space"),
        ("https://h/#f", "a fragment"),
        ("https://h#", "a fragment"),
        ("https://h/?x=1", "a query"),
        ("https://h?", "a query"),
    ],
)
def test_what_would_be_sent_as_something_else_is_no_url(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"Endpoint\.rest_url .*{says}"):
        Endpoint(rest_url=url)
    if says == "a query":  # a hub's is kept
        assert Endpoint(market_hub_url=url, user_hub_url=url).market_hub_url == url
    else:
        with pytest.raises(ConfigError, match=rf"Endpoint\.user_hub_url .*{says}"):
            Endpoint(user_hub_url=url)


def test_simulated_is_all_on_one_base() -> None:
    endpoint = GatewayConfig.simulated("http://127.0.0.1:9/").endpoints
    assert endpoint == Endpoint(
        "http://127.0.0.1:9", "http://127.0.0.1:9/hubs/market", "http://127.0.0.1:9/hubs/user"
    )


@pytest.mark.parametrize(
    "credentials", [Credentials("me", SECRET), Credentials.from_token(SECRET)], ids=["key", "token"]
)
def test_credentials_are_shown_pickled_and_copied_nowhere(credentials: Credentials) -> None:
    assert SECRET not in repr(credentials)
    assert SECRET not in str(credentials)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            leak(credentials)


@pytest.mark.parametrize("secret", ["", "  ", "kx9-77\n", "schlüssel", "a\x00b"])
def test_a_secret_that_no_service_gives_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ConfigError) as info:
        Credentials("me", secret)
    assert not secret.strip() or secret.strip() not in str(info.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rtc.example.com/hubs/market",
        "ftp://example.com",
        "https://",
        "https://host:99999/",
        "https://user:pw@host/",
        "https://host/hubs/market?access_token=abc",
        None,
        5,
    ],
)
def test_a_bad_url_is_refused_and_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"Endpoint\.market_hub_url"):
        Endpoint(market_hub_url=url)


@pytest.mark.parametrize("group", [Timeouts, Limits, Reconnect, Refresh])
def test_numbers_are_checked_and_named(group: type) -> None:
    for field in attrs.fields(group):
        if field.name.startswith("stamp_"):  # may be below 0; see test_limits_are_a_whole
            continue
        if isinstance(field.default, bool):
            continue
        for bad in (-1, "5", None, True):
            if bad is None and field.default is None:  # there it means: none
                continue
            with pytest.raises(ConfigError, match=rf"{group.__name__}\.{field.name}"):
                group(**{field.name: bad})


def test_the_sentence_says_what_it_was_against() -> None:
    for seconds, says in (
        (0, "above 0, not 0"),
        (math.inf, "above 0 and at most 3.16224e+08, which is 10 years, not inf"),
    ):
        with pytest.raises(ConfigError) as info:
            Timeouts(connect_s=seconds)
        assert str(info.value) == f"Timeouts.connect_s must be a number {says}"


def test_zero_is_refused_except_where_it_means_none() -> None:
    assert Limits(lateness_ms=0).lateness_ms == 0
    with pytest.raises(ConfigError, match="above 0"):
        Timeouts(connect_s=0)


@pytest.mark.parametrize("wrong", ["cookie", None, 5, ["header"], float("nan")])
def test_token_transport_is_one_of_two(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r'GatewayConfig\.token_transport must be "header" or "query"'):
        GatewayConfig(credentials=Credentials("a", "b"), token_transport=wrong)  # type: ignore[arg-type]


class Big:
    """Behaves like much, and is no option."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "x" * 10_000


GROUPS = [Timeouts, Limits, Reconnect, Refresh, HistoryOptions, MemoryOptions, JournalOptions]
NEVER = [
    float("nan"), float("inf"), -float("inf"), -(10**400), 10**400, 10**5000, 1e308, "5", b"5", [], {},
    Decimal(5), Fraction(1, 2), 1j, Big(),
]  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_whatever_is_no_option_is_refused_by_its_name_in_one_sentence(group: type) -> None:
    for field in attrs.fields(group):
        for wrong in NEVER:
            if field.name == "cache" and wrong == "5":
                continue
            with pytest.raises(ConfigError, match=rf"{group.__name__}\.{field.name}") as info:
                group(**{field.name: wrong})
            assert len(str(info.value)) < 250


@pytest.mark.parametrize("group", GROUPS)
def test_a_bool_is_a_bool_and_a_wait_has_an_end(group: type) -> None:
    for field in attrs.fields(group):
        if isinstance(field.default, bool):
            for wrong in (0, 1, "false", None, 1.0):
                with pytest.raises(
                    ConfigError, match=rf"{group.__name__}\.{field.name} must be True or False"
                ):
                    group(**{field.name: wrong})
        elif field.name.endswith("_s") and field.name not in ("connects_per_s", "stamp_ahead_s"):
            with pytest.raises(
                ConfigError, match=r"above 0 and at most 3.*, which is 10 years|or more and at most 3"
            ):
                group(**{field.name: 4e8})
            assert getattr(group(**{field.name: 300_000_000}), field.name) == 300_000_000


@pytest.mark.parametrize("cache", ["", "  ", "a\0b", 5])
def test_a_cache_is_a_folder(cache: object) -> None:
    with pytest.raises(ConfigError, match=r"HistoryOptions\.cache must be"):
        HistoryOptions(cache=cache)


@pytest.mark.parametrize(
    "options",
    [
        {"stamp_min_ns": "x"},
        {"stamp_max_ns": 10**30},
        {"stamp_min_ns": 5, "stamp_max_ns": 4},
        {"lateness_ms": float("inf")},
        {"lateness_ms": float("nan")},
        {"lateness_ms": 1e300},
    ],
)
def test_limits_are_a_whole(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"Limits\."):
        Limits(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("username", "secrets"),
    [
        ("", {"api_key": SECRET}),
        (None, {"api_key": SECRET}),
        ("  ", {"api_key": SECRET}),
        ("me", {"api_key": SECRET, "token": SECRET}),
        ("me", {"api_key": "two words"}),
        ("me", {}),
    ],
)
def test_credentials_that_cannot_work_are_refused(username: str, secrets: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as info:
        Credentials(username, **secrets)
    assert SECRET not in str(info.value)


@pytest.mark.parametrize(
    "options",
    [
        {"credentials": SECRET},
        {"timeouts": None},
        {"limits": 5},
        {"endpoints": "https://h"},
        {"negotiate": "no"},
        {"wall_clock": 5},
        {"connect": 5},
    ],
)
def test_every_option_of_the_wrong_kind_is_refused_where_it_is_given(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"GatewayConfig\.{next(iter(options))}") as info:
        GatewayConfig(**{"credentials": Credentials("me", SECRET), **options})  # type: ignore[arg-type]
    assert SECRET not in str(info.value)


def test_the_fields_come_in_the_order_of_the_docs() -> None:
    credentials, endpoint = Credentials("me", SECRET), Endpoint()
    config = GatewayConfig(credentials, endpoint, Timeouts(), Limits())
    assert (config.credentials, config.endpoints) == (credentials, endpoint)


def test_a_bad_url_of_the_environment_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigError, match="PROJECTX_REST_URL"):
        GatewayConfig.from_env(
            {"PROJECTX_USERNAME": "a", "PROJECTX_API_KEY": "b", "PROJECTX_REST_URL": "nonsense"}
        )


def test_pretty_printers_show_no_secret() -> None:
    pretty = pytest.importorskip("rich.pretty")
    for credentials in (Credentials("me", SECRET), Credentials.from_token(SECRET)):
        assert SECRET not in pretty.pretty_repr(GatewayConfig(credentials))


def test_simulated_wants_a_url() -> None:
    with pytest.raises(ConfigError, match="URL of a simulator"):
        GatewayConfig.simulated(None)  # type: ignore[arg-type]
