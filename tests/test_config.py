from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from trio_projectx import (
    ConfigError,
    Credentials,
    Endpoint,
    GatewayConfig,
    Limits,
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


def test_zero_is_refused_except_where_it_means_none() -> None:
    assert Limits(lateness_ms=0).lateness_ms == 0
    with pytest.raises(ConfigError, match="above 0"):
        Timeouts(connect_s=0)


def test_token_transport_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="token_transport"):
        GatewayConfig(credentials=Credentials("a", "b"), token_transport="cookie")  # type: ignore[arg-type]


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
