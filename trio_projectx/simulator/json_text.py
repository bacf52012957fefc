"""JSON as System.Text.Json writes and measures it, for what a server hands back of a client's own values.

Numbers keep the digits they came with (``1.50``), strings are escaped as ASP.NET Core's SignalR does
(JavaScriptEncoder.UnsafeRelaxedJsonEscaping), white space goes. Held against a real server, character by
character (tests/data/simulator_probes.json).
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]')
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
#: Categories that are escaped beyond ASCII; of the separators only the space itself is not.
_ESCAPED: Final = frozenset(("Cc", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"))
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
#: Everything below here that has to be escaped is in `_PLAIN`'s complement.
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*")


def string(value: str | None) -> str:
    """Return ``value`` as JSON: null, or a string with .NET's escapes."""
    if value is None:
        return "null"
    if _PLAIN.fullmatch(value):
        return f'"{value}"'
    return f'"{"".join(map(_escaped, value))}"'


def compact(raw: str) -> str:
    """Return valid JSON ``raw`` without its white space; numbers as they stand, strings escaped anew."""
    return "".join(string(json.loads(token)) if token[0] == '"' else token for token in _TOKEN.findall(raw))


def depth(raw: str) -> int:
    """Return how deep valid JSON ``raw`` nests: 0 for a number, 1 for a list of numbers."""
    deepest = now = 0
    for character in _STRING.sub("", raw):
        if character in "[{":
            now += 1
            deepest = max(deepest, now)
        elif character in "]}":
            now -= 1
    return deepest


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04X}\\u{0xDC00 + (code & 0x3FF):04X}"
    is_odd = code == 0xFEFF or (character != " " and unicodedata.category(character) in _ESCAPED)
    return f"\\u{code:04X}" if is_odd else character
