"""Nothing secret is printed: redaction of texts and of log records.

Secrets are kept out of texts in the first place (tokens travel in a header, reprs hide them); this is the
second line. `redact` knows forms, not values, so that it has no list of secrets to keep or to leak; where we know
what was sent and the other side may echo it, `hide` takes the values.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

#: The loggers of what we stand on; trio-websocket logs URLs at DEBUG, httpx2 at INFO.
FOREIGN_LOGGERS: Final = (
    "trio-websocket",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "stamina",
)
_HIDDEN: Final = "[redacted]"
#: Characters by which a part of a secret is known; a secret of less than twice as many is looked for as a whole.
_HEAD: Final = 12
_FORMS: Final = (
    re.compile(r"(?i)((?:access_token|connectionToken|apiKey|api_key|id)=)[^&\s\"'#]+"),
    re.compile(r"(?i)(bearer\s+)[^\s\"',)\]}]+"),
    re.compile(r"(?i)(\"(?:token|newToken|apiKey|accessToken|connectionToken)\"\s*:\s*\")[^\"]*"),
    re.compile(r"()eyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]*"),
)


def redact(text: str) -> str:
    """Return ``text`` with everything that has the form of a token, an API key or a bearer header replaced."""
    for form in _FORMS:
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


class RedactingFilter(logging.Filter):
    """A logging filter that redacts the finished message of every record that passes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact in place; the record always passes."""
        message = record.getMessage()
        clean = redact(message)
        if clean != message:
            record.msg, record.args = clean, ()
        return True


_FILTER: Final = RedactingFilter()


def install_redaction() -> None:
    """Put the filter on our own and our dependencies' loggers; doing it again changes nothing."""
    for name in ("trio_projectx", *FOREIGN_LOGGERS):
        logging.getLogger(name).addFilter(_FILTER)
