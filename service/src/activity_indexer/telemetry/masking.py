"""Keeps secrets and payloads out of what users and log stores read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "********"
MAX_TEXT: Final = 8192
"""Characters of one value that are shown: a longer one is likely a payload."""

MAX_SCAN: Final = 32 * MAX_TEXT
"""Characters of one value that are searched for secrets; the rest is dropped."""

MAX_DEPTH: Final = 8
_SECRET_KEY: Final = re.compile(
    r"passw(or)?d|secret|api_?key|authorization|credential|private_?key|(^|_)token$", re.IGNORECASE
)
_URL_LOGIN: Final = re.compile(r"(?P<head>://[^\s/:@?#]*):[^\s/]*@")
_HEADER: Final = re.compile(r"(?P<head>authorization\W{1,5}(?:basic|bearer|apikey)\s+)[^\s,;\"']+", re.IGNORECASE)
_ASSIGNED: Final = re.compile(r"(?<!\w)(?P<name>\w++)[\"']?\s*+[=:]\s*+")
_SECRET_NAME: Final = re.compile(r"password|secret|api_?key", re.IGNORECASE)
_ASSIGNED_VALUE: Final = re.compile(r"\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+")
_PREVIEW: Final = " Preview of field's value"
_QUOTED: Final = re.compile(r"(?<!\w)'.*'|\".*\"", re.DOTALL)
_GOT: Final = re.compile(r"\bgot (?![`\d]).*", re.DOTALL)


def masked(value: Any) -> Any:
    """The value as JSON types, without secrets: masked by their key, or by their form within any text.

    Bytes are shown as their number; other objects as their text.
    """
    return _masked(value, MAX_DEPTH)


def masked_text(text: str) -> str:
    """The text without passwords in URLs, headers and assignments; of a long one, its beginning and end."""
    length = len(text)
    text = text[:MAX_SCAN]
    if "://" in text:
        text = _URL_LOGIN.sub(rf"\g<head>:{MASK}@", text)
    if "=" in text or ":" in text:
        text = _HEADER.sub(rf"\g<head>{MASK}", text)
        text = _without_assigned_secrets(text)
    if len(text) > MAX_TEXT:
        return f"{text[: MAX_TEXT // 2]}… ({length} characters) …{text[-MAX_TEXT // 2 :]}"
    return text


def without_values(message: str) -> str:
    """An error's message without what it quotes of the event: `expected a number, got …`."""
    return _GOT.sub("got …", _QUOTED.sub("'…'", message.partition(_PREVIEW)[0]))


def _without_assigned_secrets(text: str) -> str:
    """Mask what is assigned to the name of a secret: `password=…`, `"api_key": "…"`.

    Each name is read once, from its first letter: a text that is one long name must not be read again from each letter.
    """
    if _SECRET_NAME.search(text) is None:
        return text
    shown: list[str] = []
    done = 0
    while (assigned := _ASSIGNED.search(text, done)) is not None:
        end = assigned.end()
        value = _ASSIGNED_VALUE.match(text, end) if _SECRET_NAME.search(assigned["name"]) else None
        shown.append(text[done:end])
        done = end
        if value is not None:
            shown.append(MASK)
            done = value.end()
    return "".join([*shown, text[done:]])


def _masked(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth and isinstance(value, Mapping):
        return {str(key): MASK if _hides(key, item) else _masked(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_masked(item, depth - 1) for item in value]
    return masked_text(str(value))


def _hides(key: Any, value: Any) -> bool:
    return bool(value) and not isinstance(value, bool) and _SECRET_KEY.search(str(key)) is not None
