"""Where credentials come from, and that their secrets come out nowhere but by `reveal`."""

from __future__ import annotations

import copy
import os
import pickle
import pprint
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_projectx import ConfigError, Credentials, GatewayConfig
from trio_projectx._credentials import Secret

KEY = "canary-api-key-9b1f"
JSON = f'{{"username": "me", "api_key": "{KEY}"}}'


async def get_token() -> str:
    return KEY


KINDS = {
    "key": Credentials("me", KEY),
    "token": Credentials.from_token(KEY),
    "callable": Credentials.from_callable(get_token),
}


def file_with(folder: Path, data: bytes | str, mode: int = 0o600) -> Path:
    path = folder / "credentials"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def refusal(make: Callable[[], object]) -> str:
    """Return everything that the refusal of ``make()`` would print."""
    with pytest.raises(ConfigError) as raised:
        make()
    text = "".join(traceback.format_exception(raised.value)) + repr(raised.value.args)
    # The lines of this file that a traceback quotes are no leak.
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


# What shows, and what does not


@pytest.mark.parametrize("kind", KINDS)
def test_no_way_to_print_or_copy_shows_the_secret(kind: str) -> None:
    credentials = KINDS[kind]
    config = GatewayConfig(credentials)
    shown = [
        repr(credentials),
        str(credentials),
        f"{credentials}",
        pprint.pformat(config),
        repr(attrs.asdict(credentials)),
        repr(attrs.astuple(credentials)),
        repr(attrs.asdict(config)),
        pprint.pformat(attrs.asdict(config)),
        repr({name: getattr(credentials, name) for name in dir(credentials) if name != "reveal"}),
    ]
    for text in shown:
        assert KEY not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            leak(credentials)
    if kind != "callable":
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not pickled or copied"):
                leak(attrs.asdict(credentials)["_api_key"] or attrs.asdict(credentials)["_token"])


def test_rich_shows_no_secret() -> None:
    pretty = pytest.importorskip("rich.pretty")
    for credentials in KINDS.values():
        assert KEY not in pretty.pretty_repr(GatewayConfig(credentials))
        assert KEY not in pretty.pretty_repr(attrs.asdict(credentials))


def test_the_repr_says_the_kind() -> None:
    assert [repr(each) for each in KINDS.values()] == [
        "Credentials(username='me', api_key=[redacted])",
        "Credentials(token=[redacted])",
        "Credentials(callable=[redacted])",
    ]
    assert repr(Secret(KEY)) == f"{Secret(KEY)}" == "[redacted]"


def test_reveal_gives_the_secret_and_its_kind() -> None:
    assert [each.reveal() for each in KINDS.values()] == [(KEY, "api_key"), (KEY, "token"), ("", "callable")]
    assert KINDS["callable"].get_token is get_token
    assert KINDS["key"].get_token is None


def test_evolving_keeps_the_secret() -> None:
    assert attrs.evolve(KINDS["key"], username="you").reveal() == (KEY, "api_key")


@pytest.mark.parametrize("given", [KEY, 5, b"x"])
def test_a_callable_must_be_one(given: object) -> None:
    text = refusal(lambda: Credentials.from_callable(given))  # type: ignore[arg-type]
    assert "takes an async function" in text
    assert KEY not in text


def test_one_kind_at_a_time() -> None:
    for extra in ({"token": KEY}, {"get_token": get_token}):
        text = refusal(lambda: Credentials("me", KEY, **extra))  # type: ignore[arg-type]  # noqa: B023
        assert "not several" in text
        assert KEY not in text


# From the environment


def test_from_env_takes_the_two_variables() -> None:
    found = Credentials.from_env({"PROJECTX_USERNAME": " me ", "PROJECTX_API_KEY": f"{KEY}\n"})
    assert (found.username, found.reveal()) == ("me", (KEY, "api_key"))


def test_from_env_takes_the_file_where_neither_is_set(tmp_path: Path) -> None:
    env = {"PROJECTX_CREDENTIALS_FILE": str(file_with(tmp_path, JSON)), "PROJECTX_USERNAME": " "}
    assert Credentials.from_env(env).reveal() == (KEY, "api_key")
    assert GatewayConfig.from_env(env).credentials.reveal() == (KEY, "api_key")


def test_half_of_the_variables_is_a_mistake_whatever_the_file_says(tmp_path: Path) -> None:
    path = str(file_with(tmp_path, JSON))
    text = refusal(
        lambda: Credentials.from_env({"PROJECTX_CREDENTIALS_FILE": path, "PROJECTX_USERNAME": "me"})
    )
    assert "PROJECTX_API_KEY (the key" in text
    assert "PROJECTX_USERNAME" not in text


def test_nothing_set_names_everything_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROJECTX_USERNAME", "PROJECTX_API_KEY", "PROJECTX_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    text = refusal(Credentials.from_env)
    assert "PROJECTX_USERNAME and PROJECTX_API_KEY" in text
    assert "PROJECTX_CREDENTIALS_FILE" in text


# From a file


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        "\ufeff" + JSON,
        f'\n {{"note": [1], "api_key": "{KEY}", "username": "me"}}\n',
        f"PROJECTX_USERNAME=me\nPROJECTX_API_KEY={KEY}\n",
        f"# mine\n\n username = me \r\nAPI_KEY='{KEY}'\r\nPROJECTX_REST_URL=https://h\n",
        f'export PROJECTX_API_KEY="{KEY}"\nexport PROJECTX_USERNAME=me',
    ],
)
def test_both_forms_of_a_file(tmp_path: Path, text: str) -> None:
    path = file_with(tmp_path, text)
    for given_as in (path, str(path), os.fsencode(path)):
        found = Credentials.from_file(given_as)  # type: ignore[arg-type]
        assert (found.username, found.reveal()) == ("me", (KEY, "api_key"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no username and no api_key"),
        (KEY, "line 1 is not KEY=VALUE"),
        (f"USERNAME=me\n{KEY}", "line 2 is not KEY=VALUE"),
        (f"API_KEY={KEY}", "names no username"),
        ("USERNAME=me\nAPI_KEY=", "names no api_key"),
        (f"USERNAME=me\nAPI_KEY=x\nPROJECTX_API_KEY={KEY}", "line 3 gives a value again"),
        (f'{{"username": "me", "api_key": ["{KEY}"]}}', "must be a JSON object"),
        (f'{{"username": "me", "apiKey": "{KEY}"}}', "must be a JSON object"),
        (f'{{"username": "me", "api_key": "{KEY}"', "must be a JSON object"),
        (f'{{"username": "me", "api_key": "{KEY} {KEY}"}}', "holds a character that no key has"),
        (f'{{"username": " ", "api_key": "{KEY}"}}', "need the user name"),
        ('{"username": "me", "api_key": ""}', "one of them is empty"),
        (b"\xff\xfe" + KEY.encode(), "must be a JSON object"),
        ('{"username":' + "[" * 60_000, "must be a JSON object"),
        (JSON + " " * (64 << 10), "longer than 65536 bytes"),
    ],
)
def test_a_file_with_something_else_is_refused_and_not_quoted(
    tmp_path: Path, text: bytes | str, says: str
) -> None:
    path = file_with(tmp_path, text)
    shown = refusal(lambda: Credentials.from_file(path))
    assert says in shown
    assert KEY not in shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o777, 0o620])
def test_a_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = file_with(tmp_path, JSON, mode)
    shown = refusal(lambda: Credentials.from_file(path))
    assert f"is open to others (mode {mode:04o}); chmod 600 it" in shown
    assert str(path) in shown
    path.chmod(0o400)
    assert Credentials.from_file(path).username == "me"


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_with(tmp_path, JSON)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert "belongs to another user" in refusal(lambda: Credentials.from_file(path))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)  # nobody writes to it: a plain open would wait for ever
    for path in (fifo, tmp_path, Path("/dev/null"), Path("/dev/zero")):
        assert "is not a regular file" in refusal(lambda: Credentials.from_file(path))  # noqa: B023


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = file_with(tmp_path, JSON)
    os.truncate(path, 1 << 42)  # a hole: it takes no room on the disk, and would take all the memory there is
    assert "longer than 65536 bytes" in refusal(lambda: Credentials.from_file(path))


def test_no_file_descriptor_is_left_open(tmp_path: Path) -> None:
    good, bad = file_with(tmp_path, JSON), tmp_path
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        Credentials.from_file(good)
        refusal(lambda: Credentials.from_file(bad))
        refusal(lambda: Credentials.from_file(tmp_path / "none"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", ["", "x\0y", "n" * 5000, 7.5, None, [], JSON, f"API_KEY={KEY}"])
def test_what_is_no_path_is_refused_and_contents_in_its_place_are_not_shown(path: object) -> None:
    shown = refusal_of(path)
    assert "cannot be read" in shown
    assert KEY not in shown


def refusal_of(path: object) -> str:
    return refusal(lambda: Credentials.from_file(path))  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert f"the credentials file {path} cannot be read: No such file" in refusal_of(path)


def test_a_link_is_followed_to_the_file_that_counts(tmp_path: Path) -> None:
    path, link = file_with(tmp_path, JSON), tmp_path / "link"
    link.symlink_to(path)
    assert Credentials.from_file(link).username == "me"
    path.chmod(0o644)
    assert "open to others" in refusal_of(link)


@given(st.binary(max_size=300))
def test_whatever_a_file_holds_only_a_config_error_comes_out(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = file_with(tmp_path_factory.getbasetemp(), data)
    try:
        assert Credentials.from_file(path).reveal()[1] == "api_key"
    except ConfigError:
        pass


# From the keyring


@pytest.fixture
def keyring_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a package ``keyring`` on the path whose ``get_password`` does what is given."""
    before = sys.modules.pop("keyring", None)

    def put(body: str) -> None:
        (tmp_path / "keyring.py").write_text(f"def get_password(service_name, username):\n    {body}\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield put
    sys.modules.pop("keyring", None)
    if before is not None:
        sys.modules["keyring"] = before


def test_the_keyring_is_asked_for_service_and_user(keyring_that: Callable[[str], None]) -> None:
    keyring_that("return f'{service_name}/{username}'")
    assert Credentials.from_keyring("me").reveal() == ("trio_projectx/me", "api_key")
    assert Credentials.from_keyring("me", "mine").reveal() == ("mine/me", "api_key")


def test_a_keyring_without_the_key_says_how_to_put_it_there(keyring_that: Callable[[str], None]) -> None:
    keyring_that("return None")
    assert "keyring set trio_projectx me" in refusal(lambda: Credentials.from_keyring("me"))


def test_a_keyring_that_fails_is_a_config_error(keyring_that: Callable[[str], None]) -> None:
    keyring_that("raise RuntimeError('locked')")
    with pytest.raises(ConfigError, match=r"cannot be asked \(RuntimeError\)") as raised:
        Credentials.from_keyring("me")
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)  # type: ignore[arg-type]
    assert "pip install 'trio-projectx[keyring]'" in refusal(lambda: Credentials.from_keyring("me"))


def test_the_real_package_with_a_keyring_in_memory() -> None:
    keyring = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyring.backend")

    class InMemory(backend.KeyringBackend):  # type: ignore[name-defined,misc]
        priority = 1

        def __init__(self) -> None:
            super().__init__()
            self.held: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.held[service, username] = password

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    try:
        assert "holds no such API key" in refusal(lambda: Credentials.from_keyring("me"))
        keyring.set_password("trio_projectx", "me", KEY)
        assert Credentials.from_keyring("me").reveal() == (KEY, "api_key")
    finally:
        keyring.set_keyring(before)
