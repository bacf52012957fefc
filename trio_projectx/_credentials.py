"""Who you are: a user name with an API key, a token, or a way to get one; and where these may be kept.

Secrets are held as `Secret` objects, so that nothing that walks over the fields of a value (``attrs.asdict``,
rich, a debugger's pretty printer) comes across their text.
"""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, NoReturn, Protocol, TypeAlias, cast

import attrs
import msgspec

from trio_projectx._errors import ConfigError
from trio_projectx._redact import escape

GetToken: TypeAlias = Callable[[], Awaitable[str]]
"""A user's own way to get a token: awaited for each login and each refresh."""

_FILE_LIMIT: Final = 64 << 10
_USERNAME: Final = "PROJECTX_USERNAME"
_API_KEY: Final = "PROJECTX_API_KEY"
_FILE: Final = "PROJECTX_CREDENTIALS_FILE"


class Secret:
    """A text that only `reveal` gives away: not its repr, and it is not pickled or copied."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one request that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "[redacted]"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied: that would write it somewhere")


def _secret(value: str | Secret | None) -> Secret | None:
    return value if value is None or isinstance(value, Secret) else Secret(value)


@attrs.frozen(slots=True, repr=False, eq=False)
class Credentials:
    """A user name with an API key, or a token you already have, or a function that gets one.

    The secret is in no repr and no pickle.
    """

    username: str
    # repr=False on each: rich and others print attrs fields without asking for the repr
    _api_key: Secret | None = attrs.field(default=None, alias="api_key", repr=False, converter=_secret)
    _token: Secret | None = attrs.field(default=None, alias="token", repr=False, converter=_secret)
    _get_token: GetToken | None = attrs.field(default=None, alias="get_token", repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if sum(each is not None for each in (self._api_key, self._token, self._get_token)) > 1:
            raise ConfigError(
                "Credentials take an API key or a token (or a function that gets one), not several of them"
            )
        if self._get_token is not None:
            if not callable(self._get_token):
                raise ConfigError("Credentials.from_callable takes an async function that returns a token")
            return
        if self._token is None and not (isinstance(self.username, str) and self.username.strip()):
            raise ConfigError("Credentials need the user name that the API key belongs to")
        _check(self._api_key if self._token is None else self._token)

    @classmethod
    def from_token(cls, jwt: str) -> Credentials:
        """Use a token that was got elsewhere; nothing logs in. It is renewed where the service does so."""
        return cls(username="", token=jwt)

    @classmethod
    def from_callable(cls, get_token: GetToken) -> Credentials:
        """Get each token from ``await get_token()``, at the start, when one is refused, and for each refresh.

        One call is under way at a time, and it has ``timeouts.refresh_s``, after which it is cancelled. What it
        raises becomes an `AuthError` that names the exception's type and holds it as its cause.
        """
        return cls(username="", get_token=get_token)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Credentials:
        """Read PROJECTX_USERNAME and PROJECTX_API_KEY; where neither is set, PROJECTX_CREDENTIALS_FILE names a file.

        :raises ConfigError: naming the variable that is missing, or as `from_file`.
        """
        env = os.environ if environ is None else environ
        missing = [name for name in (_USERNAME, _API_KEY) if not env.get(name, "").strip()]
        if len(missing) == 2 and env.get(_FILE):
            return cls.from_file(env[_FILE])
        if missing:
            instead = f", or {_FILE} to a file with both" if len(missing) == 2 else ""
            raise ConfigError(
                f"set the environment variable {' and '.join(missing)} (the key is made on the platform){instead}"
            )
        return cls(env[_USERNAME].strip(), env[_API_KEY].strip())

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Credentials:
        """Read a small file of yours: a JSON object with ``username`` and ``api_key``, or lines ``KEY=VALUE``.

        The keys of the lines are those of JSON or the environment variables' names; empty lines and those that
        begin with ``#`` are skipped, quotes around a value are taken off. It is read at once, from a local disk
        in no time: do it before ``trio.run``, or in a thread. A symbolic link is followed.

        :raises ConfigError: if the file cannot be read, is not a regular file, is longer than 64 KiB, holds
            something else, is owned by somebody else, or can be read or written by others than its owner. No
            text quotes it.
        """
        shown = _shown(path)
        return cls(*_parse(_read(path, shown), shown))

    @classmethod
    def from_keyring(cls, username: str, service: str = "trio_projectx") -> Credentials:
        """Read the API key from the system's keyring, by the package ``keyring`` (extra ``keyring``).

        Put it there once with ``keyring set trio_projectx USERNAME``. The keyring may ask its owner for leave and
        blocks meanwhile: do it before ``trio.run``, or in a thread.

        :raises ConfigError: if the package is missing, the keyring cannot be asked, or it holds no such key.
        """
        found = _ask_keyring(service, username)
        if found is None:
            where = f"{escape(service, 60)} {escape(username, 60)}"
            raise ConfigError(f"the keyring holds no such API key; put it there with: keyring set {where}")
        return cls(username, found)

    @property
    def get_token(self) -> GetToken | None:
        """The user's function that gets a token, if that is the kind of these credentials."""
        return self._get_token

    def reveal(self) -> tuple[str, Literal["api_key", "token", "callable"]]:
        """Return the secret and its kind, for the one request that needs it; a callable has none."""
        if self._token is not None:
            return self._token.reveal(), "token"
        if self._api_key is not None:
            return self._api_key.reveal(), "api_key"
        return "", "callable"

    def __repr__(self) -> str:
        kind = self.reveal()[1]
        return f"Credentials({f'username={self.username!r}, ' if self.username else ''}{kind}=[redacted])"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are not pickled or copied: that would write the secret somewhere")


def _check(held: Secret | None) -> None:
    text = "" if held is None else held.reveal()
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("Credentials need a user name with an API key, or a token: one of them is empty")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError("the API key or token holds a character that no key has (a line break at its end?)")


def _shown(path: str | os.PathLike[str]) -> str:
    """Return ``path`` for a sentence; what looks like the file's contents in its place is not shown."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    is_path = isinstance(text, str) and not set(text) & set('{="\n')
    return f"the credentials file {escape(text)}" if is_path else "the credentials file"


def _read(path: str | os.PathLike[str], shown: str) -> bytes:
    """Return the contents, after a look at whose file it is: at the open one, which nobody can swap."""
    try:
        # O_NONBLOCK: a FIFO without a writer would be waited for, before it can be seen to be one.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError, TypeError) as exc:
        raise _unread(exc, shown) from None
    try:
        _check_owner(os.fstat(handle), shown)
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(_FILE_LIMIT + 1)
    except OSError as exc:
        raise _unread(exc, shown) from None
    finally:
        os.close(handle)
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{shown} is longer than {_FILE_LIMIT} bytes; that is no credentials file")
    return data


def _unread(exc: Exception, shown: str) -> ConfigError:
    why = exc.strerror if isinstance(exc, OSError) else "that is no path"
    return ConfigError(f"{shown} cannot be read: {why}")


def _check_owner(found: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{shown} is not a regular file")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{shown} belongs to another user; whoever owns it can read and change it")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(f"{shown} is open to others (mode {mode:04o}); chmod 600 it")


class _Object(msgspec.Struct):
    username: str
    api_key: str


def _parse(data: bytes, shown: str) -> tuple[str, str]:
    try:
        text = data.decode("utf-8-sig").strip()
        found = msgspec.json.decode(text, type=_Object) if text.startswith("{") else _lines(text, shown)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        found = None
    if found is None:  # outside of the handler: the decoder's error knows what it has read
        raise ConfigError(
            f'{shown} must be a JSON object with the texts "username" and "api_key", or lines KEY=VALUE'
        )
    return found.username.strip(), found.api_key.strip()


def _lines(text: str, shown: str) -> _Object:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals:
            raise ConfigError(f"{shown}: line {number} is not KEY=VALUE")
        key = name.strip().lower().removeprefix("projectx_")
        if key in found:
            raise ConfigError(f"{shown}: line {number} gives a value again; which one is meant?")
        found[key] = _unquoted(value.strip())
    missing = [name for name in ("username", "api_key") if not found.get(name)]
    if missing:
        raise ConfigError(f"{shown} names no {' and no '.join(missing)}")
    return _Object(found["username"], found["api_key"])


def _unquoted(value: str) -> str:
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


class _Keyring(Protocol):
    """What is needed of the package ``keyring``."""

    def get_password(self, service_name: str, username: str) -> str | None: ...


def _ask_keyring(service: str, username: str) -> str | None:
    try:
        keyring = cast("_Keyring", importlib.import_module("keyring"))
    except ImportError:
        raise ConfigError(
            "credentials from the keyring need the package keyring: pip install 'trio-projectx[keyring]'"
        ) from None
    try:
        return keyring.get_password(service, username)
    except MemoryError:
        raise
    except Exception as exc:  # its backends raise what they like (D-Bus, no backend, locked)
        raise ConfigError(
            f"the keyring cannot be asked ({type(exc).__name__}); is it unlocked, and is there one?"
        ) from exc
