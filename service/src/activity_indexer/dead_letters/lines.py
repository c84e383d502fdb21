"""Dead letters as lines of JSON, and back: nothing is lost on the way."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any, Final

from activity_indexer.dead_letters.record import Headers, StoredDeadLetter
from activity_indexer.ports import HeaderName, header_name
from activity_indexer.timestamps import format_timestamp, shorten

FIELDS: Final = ("topic", "partition", "offset", "timestamp", "key", "value", "headers")


class LineError(ValueError):
    """A line is no dead letter; the message says what was expected, and what came."""


def as_json(content: bytes | None) -> str | dict[str, str] | None:
    """Bytes as text when they are UTF-8, else as `{"base64": …}`."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def name_as_json(name: str) -> str | dict[str, str]:
    """A header's name as text, or as `{"base64": …}` when it is not UTF-8."""
    return {"base64": base64.b64encode(name.raw).decode()} if isinstance(name, HeaderName) else name


def to_line(letter: StoredDeadLetter) -> str:
    """One line of JSON, without its line break."""
    reported = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "key": as_json(letter.key),
        "value": as_json(letter.value),
        "headers": [[name_as_json(name), as_json(value)] for name, value in letter.headers],
    }
    return json.dumps(reported, ensure_ascii=False)


def from_line(line: str | bytes) -> StoredDeadLetter:
    """The dead letter in a line, exactly as it was. Raises LineError."""
    reported = _object(line)
    if unknown := sorted(reported.keys() - set(FIELDS)):
        raise LineError(f"expected the fields {', '.join(FIELDS)}, got {', '.join(map(repr, unknown))} too")
    if missing := [name for name in FIELDS if name not in reported]:
        raise LineError(f"expected the fields {', '.join(FIELDS)}, got none named {', '.join(missing)}")
    topic = reported["topic"]
    if not isinstance(topic, str):
        raise LineError(f"topic: expected a string, got {_got(topic)}")
    return StoredDeadLetter(
        topic,
        _number("partition", reported["partition"]),
        _number("offset", reported["offset"]),
        _number("timestamp", reported["timestamp"], least=-1),
        _bytes("key", reported["key"]),
        _bytes("value", reported["value"]),
        _headers(reported["headers"]),
    )


def importable(letter: StoredDeadLetter) -> None:
    """Check that a dead letter says where it came from, and why. Raises LineError."""
    if problems := letter.unreadable:
        raise LineError("; ".join(problems))


def _object(line: str | bytes) -> dict[str, Any]:
    try:
        reported = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError(f"expected a JSON object: {error}") from None
    if not isinstance(reported, dict):
        raise LineError(f"expected a JSON object, got {_got(reported)}")
    return reported


def _number(name: str, value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise LineError(f"{name}: expected a whole number of {least} or more, got {_got(value)}")
    return value


def _bytes(name: str, value: object) -> bytes | None:
    match value:
        case None:
            return None
        case str():
            return _encoded(name, value)
        case {"base64": str(text), **rest} if not rest:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError as error:
                raise LineError(f"{name}: expected base64: {error}") from None
    raise LineError(f'{name}: expected a string, {{"base64": "…"}} or null, got {_got(value)}')


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LineError(f"{name}: expected text that can be UTF-8, {error.reason} at character {error.start}") from None


def _headers(value: object) -> Headers:
    if not isinstance(value, list):
        raise LineError(f"headers: expected an array of [name, value], got {_got(value)}")
    return tuple(_header(number, each) for number, each in enumerate(value))


def _header(number: int, value: object) -> tuple[str, bytes | None]:
    match value:
        case [str(name), content]:
            _encoded(f"headers[{number}]", name)
            return name, _bytes(f"headers[{number}]", content)
        case [{"base64": str()} as encoded, content]:
            raw = _bytes(f"headers[{number}]", encoded) or b""
            return header_name(raw), _bytes(f"headers[{number}]", content)
    raise LineError(f"headers[{number}]: expected [name, value], got {_got(value)}")


def _got(value: object) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), 60)


def summary(letter: StoredDeadLetter) -> dict[str, Any]:
    """What a dead letter says, for programs that do not want its bytes."""
    facts, original = letter.facts, letter.original
    failed = letter.first_failure, letter.last_failure
    return {
        "place": letter.place,
        "stage": letter.stage,
        "error": letter.error,
        "message": letter.message,
        "eventType": facts.event_type,
        "transaction": facts.transaction_id,
        "user": facts.user_id,
        "messageId": letter.message_id,
        "attempts": letter.attempts,
        "firstFailure": None if failed[0] is None else format_timestamp(failed[0]),
        "lastFailure": None if failed[1] is None else format_timestamp(failed[1]),
        "original": None if original is None else f"{original[0].topic}:{original[0].partition}:{original[1]}",
        "replays": letter.replay_count,
        "replayId": letter.replay_id,
        "content": letter.content,
        "truncated": None if letter.truncation is None else asdict(letter.truncation),
        "unreadable": list(letter.unreadable),
    }
