"""Values that no consumer should meet: valid events, damaged in every way that we know of."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

TOKENS = [
    b"NaN", b"-Infinity", b"1e400", b"-0", b"0e-99999", b"9" * 400, b"1.", b"01", b"null", b"[]", b"{}", b'""', b"true",
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\u005f"', b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\x00",
    b"\n", b"\r\n", b"\xe2\x80\xa8", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"/**/", b"\\u",
    b"[" * 2000 + b"]" * 2000,
    b'{"a":' * 300, b'"_id":1,', b'"_version":1,', b'"event_type":1,', b'"id":"z",', b'"_deleted_at":"x",',
]  # fmt: skip
"""What JSON, UTF-8, bulk requests and our own fields trip over."""

NAMES = [
    "_id", "_version", "_source", "_routing", "_deleted_at", "_updated_at", "_enriched", "event_type", "enrichment",
    "search_content", "_trace_id", "", ".", "a.b", "..", "\u2028", "\x00", "x" * 3000, "metadata", "id",
]  # fmt: skip
TIMES = [
    "2024-01-01T12:00:00Z", "2024-01-01T12:00:60Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    "1969-12-31T23:59:59Z",
    "2024-01-01", "2024-01-01T12:00:00+23:59", "2024-02-30T12:00:00Z", "2024-01-01T12:00:00.1234567891Z", "now", "",
    "2024-01-01t12:00:00z", "2024-01-01 12:00:00", "٢٠٢٤-01-01T12:00:00Z", "2024-01-01T24:00:00Z",
    "2024-01-01T12:00:00+24:00",
]  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 2**63, -(2**70), 1e308, 5e-324, "", "\n", "\u2028", "\ud800", "é" * 600, "x" * 9_000, "\x00",
    [], {}, [[[]]], {"_id": 1}, {"a.b": 1, "a": {"b": 2}}, {"": ""}, ["x"] * 300, "4111111111111111", "'; --",
    {"merchant_name": 5}, {"merchant_name": ["a"], "card_last_four": {}}, {"symbol": "\n"}, {"direction": None},
]  # fmt: skip


def damaged(rng: random.Random, event: dict[str, Any]) -> bytes:
    """The event's bytes after one to four damages: to its fields, to its bytes, or to both."""
    event = json.loads(json.dumps(event))
    for _ in range(rng.randint(0, 2)):
        rng.choice(FIELD_DAMAGES)(rng, event)
    text = json.dumps(event, indent=rng.choice((None, None, 1)), ensure_ascii=rng.random() < 0.5)
    value = text.encode(errors="surrogatepass")
    for _ in range(rng.randint(0, 2)):
        value = rng.choice(BYTE_DAMAGES)(rng, value)
    return value


def _holders(found: Any) -> list[dict[str, Any]]:
    """The object and all objects in it."""
    if isinstance(found, dict):
        return [found, *(inner for value in found.values() for inner in _holders(value))]
    return [inner for value in found for inner in _holders(value)] if isinstance(found, list) else []


def _replace(rng: random.Random, event: dict[str, Any]) -> None:
    holder = rng.choice(_holders(event))
    if holder:
        holder[rng.choice(list(holder))] = copy.deepcopy(rng.choice(ODD))


def _remove(rng: random.Random, event: dict[str, Any]) -> None:
    holder = rng.choice(_holders(event))
    if holder:
        del holder[rng.choice(list(holder))]


def _add(rng: random.Random, event: dict[str, Any]) -> None:
    rng.choice(_holders(event))[rng.choice(NAMES)] = copy.deepcopy(rng.choice(ODD))


def _retime(rng: random.Random, event: dict[str, Any]) -> None:
    holder = rng.choice(_holders(event))
    holder[rng.choice(("timestamp", "created_at"))] = rng.choice(TIMES)


def _retype(rng: random.Random, event: dict[str, Any]) -> None:
    event["event_type"] = rng.choice(("transaction.deleted", "transaction.updated", "transaction.Created", "\n", 7))


def _insert(rng: random.Random, value: bytes) -> bytes:
    at = rng.randint(0, len(value))
    return value[:at] + rng.choice(TOKENS) + value[at:]


def _overwrite(rng: random.Random, value: bytes) -> bytes:
    at, token = rng.randint(0, len(value)), rng.choice(TOKENS)
    return value[:at] + token + value[at + rng.randint(0, 2 * len(token)) :]


def _cut(rng: random.Random, value: bytes) -> bytes:
    return value[: rng.randint(0, len(value))]


def _flip(rng: random.Random, value: bytes) -> bytes:
    if not value:
        return value
    at = rng.randrange(len(value))
    return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]


def _repeat(rng: random.Random, value: bytes) -> bytes:
    start, end = sorted((rng.randint(0, len(value)), rng.randint(0, len(value))))
    return value[:end] + value[start:end] + value[end:]


def _recode(rng: random.Random, value: bytes) -> bytes:
    return value.decode(errors="replace").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))


FIELD_DAMAGES: Sequence[Callable[[random.Random, dict[str, Any]], None]] = (_replace, _remove, _add, _retime, _retype)
BYTE_DAMAGES: Sequence[Callable[[random.Random, bytes], bytes]] = (_insert, _overwrite, _cut, _flip, _repeat, _recode)
