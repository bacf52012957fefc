"""Nothing secret is printed: redaction of texts and of log records.

Secrets are kept out of texts in the first place (tokens travel in a header, reprs hide them); this is the
second line. `redact` knows forms, not values, so that it has no list of secrets to keep or to leak; where we know
what was sent and the other side may echo it, `hide` takes the values.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable
from typing import Final

#: The loggers of what we stand on; trio-websocket logs URLs at DEBUG, httpx2 at INFO.
FOREIGN_LOGGERS: Final = (
    "trio-websocket",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
    "httpcore2.socks",
    "stamina",
)
_HIDDEN: Final = "[redacted]"
#: The longest message that is logged.
_RECORD: Final = 4000
#: Attributes of a record that are not anybody's text: where it was made, and what is looked at by itself.
_OWN: Final = frozenset(
    {"name", "msg", "levelname", "pathname", "filename", "module", "funcName", "stack_info"}
)
#: And those that are no texts.
_RAW: Final = ("args", "exc_info")
#: Characters by which a part of a secret is known; a secret of less than twice as many is looked for as a whole.
_HEAD: Final = 12
#: The quote before a value, and the value up to the next such quote; the quote is the second group of a form.
_QUOTE: Final = r"\\*([\"'])"
_QUOTED: Final = r"(?:(?!\2)[\s\S])*"
#: What is hidden behind which name, and what every such text has in it (in lower case): looking for that first takes a
#: tenth of the time, and every log record is looked at.
_FORMS: Final = (
    # The ``id`` of a negotiation; what only ends so (``contractId=``) is none.
    ("=", re.compile(r"(?i)((?:access_token|connectionToken|(?<![a-z0-9_])id)=)[^&\s\"'#]+")),
    # What is hidden already stays as it is: a text may be redacted where it is made, and where it is logged.
    ("bearer", re.compile(r"(?i)(bearer\s+)(?!\[redacted\])[^\s\"',)\]}]+")),
    # As JSON, in the repr of a dict or of an object, as an argument, as a header; also within a text that is quoted.
    ("key", re.compile(rf"(?i)(api[ _-]?key\\*[\"']?\s*[:=]\s*(?:{_QUOTE})?)(?(2){_QUOTED}|[^&\s\"'#]+)")),
    ("token", re.compile(rf"(?i)(token\\*(?:[\"']\s*:|\s*=)\s*{_QUOTE}){_QUOTED}")),
    # Also without its end, for a text may have been cut.
    ("eyj", re.compile(r"()eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*)?")),
)


def redact(text: str) -> str:
    """Return ``text`` with everything that has the form of a token, an API key or a bearer header replaced."""
    lower = text.lower()
    for mark, form in _FORMS:
        if mark in lower:
            text = form.sub(rf"\1{_HIDDEN}", text)
    return text


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with each of ``secrets`` replaced: for texts that may echo what we sent.

    Of a long secret its beginning is replaced too: a text that was capped may hold no more of it.
    """
    for secret in secrets:
        if len(secret) > 3:  # a shorter one would tear holes into every sentence, and is no secret
            text = text.replace(secret, _HIDDEN)
        if len(secret) >= 2 * _HEAD:
            text = _without_beginning(text, secret)
    return text


def _without_beginning(text: str, secret: str) -> str:
    while (start := text.find(secret[:_HEAD])) >= 0:
        end = start + _HEAD
        while end < len(text) and secret.startswith(text[start : end + 1]):
            end += 1
        text = text[:start] + _HIDDEN + text[end:]
    return text


def escape(text: str, limit: int = 200) -> str:
    """Make text of the other side fit to print: redacted, one line, control characters escaped, capped."""
    shown = redact(text[: 4 * limit]).encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def printable(text: str, limit: int = _RECORD) -> str:
    """Return ``text`` as one line of at most ``limit`` characters; those that would print as something else escaped.

    Letters of any script stay. Whoever writes a log cannot be made to write another line, or to steer a terminal.
    """
    if not text.isprintable():
        text = "".join(
            each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
        )
    return text if len(text) <= limit else text[: limit - 3] + "..."


def message_of(record: logging.LogRecord) -> str:
    """Return the message of a record; of one whose arguments do not fit, its template and what is wrong.

    A handler prints such an error to stderr, raw record and all; raised in a filter it would strike who logs.
    """
    try:
        return record.getMessage()
    except MemoryError:
        raise
    except Exception as exc:  # noqa: BLE001  whatever an argument's own __str__ raises
        record.msg, record.args = f"{record.msg} (it cannot be formatted: {type(exc).__name__})", ()
        return record.getMessage()


def _is_group(value: object) -> bool:
    return isinstance(value, (tuple, list, dict))


class RedactingFilter(logging.Filter):
    """A logging filter that redacts every record that passes it: message, fields, exception and stack.

    The message becomes one printable line, capped. An exception in whose traceback something is redacted is replaced by
    its text, so that no handler can print the other one.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact in place; the record always passes."""
        message = message_of(record)
        clean = printable(redact(message))
        if clean != message:
            record.msg, record.args = clean, ()
        for name, value in vars(record).items():
            if isinstance(value, str) and name not in _OWN:
                vars(record)[name] = printable(redact(value))
            elif _is_group(value) and name not in _RAW and redact(str(value)) != str(value):
                vars(record)[name] = printable(redact(str(value)))
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
            if redact(text) != text:
                record.exc_info, record.exc_text = None, redact(text)
        return True


_FILTER: Final = RedactingFilter()


def install_redaction() -> None:
    """Put the filter on our own and our dependencies' loggers; doing it again changes nothing."""
    for name in ("trio_projectx", *FOREIGN_LOGGERS):
        logging.getLogger(name).addFilter(_FILTER)
