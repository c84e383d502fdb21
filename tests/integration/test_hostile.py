"""Bad input among good: each message gets exactly one outcome, and its neighbours in the bulk request get theirs."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from fixtures.events import CREATED, DELETED, event, moment, transaction
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration

INDEXED = "indexed"
LONG = "x" * 40_000
NEEDED = transaction().keys() - {"product", "metadata"}
TEXTS = ("transaction_type", "product", "status", "currency", "user_id")
ODD_NUMBERS = {
    "beyond 2^53": "9007199254740993",
    "thirty digits": "123456789012345678901234567890",
    "trailing zero": "0.10",
    "exponent": "1e2",
    "capital exponent": "-2.50E+3",
    "many decimals": "0.1234567890123456789012345678901234567890",
    "negative zero": "-0.0",
    "tiny": "1e-300",
}


def raw(identifier: str, **texts: str) -> bytes:
    """An event in which these fields of the transaction are this JSON text."""
    fields = {name: json.dumps(value) for name, value in transaction(identifier).items()} | texts
    body = ",".join(f"{json.dumps(name)}:{text}" for name, text in fields.items())
    return f'{{"event_type":"{CREATED}","transaction":{{{body}}},"timestamp":"{moment(0)}","source":"t"}}'.encode()


def without(field: str) -> dict[str, Any]:
    found = event("incomplete")
    del found["transaction"][field]
    return found


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


NOT_JSON: Mapping[str, tuple[bytes | None, str]] = {
    "null": (None, "decode empty_value"),
    "empty": (b"", "decode empty_value"),
    "blank": (b"  \n", "decode invalid_json"),
    "text": (b"hello", "decode invalid_json"),
    "truncated": (json.dumps(event("cut")).encode()[:-20], "decode invalid_json"),
    "two documents": (json.dumps(event("two")).encode() * 2, "decode invalid_json"),
    "UTF-16": (json.dumps(event("utf16")).encode("utf-16"), "decode not_utf8"),
    "invalid UTF-8": (raw("bad").replace(b"Starbucks", b"Star\xff\xfe"), "decode not_utf8"),
    "Latin-1": (raw("latin").replace(b"Starbucks", "Caf\u00e9".encode("latin-1")), "decode not_utf8"),
    "20,000 deep": (raw("deep", metadata=nested(20_000)), "decode nested_too_deep"),
    "20,000 lists": (b"[" * 20_000, "validate wrong_type"),
    "NaN": (raw("nan", amount="NaN"), "decode invalid_json"),
    "Infinity": (raw("inf", amount="Infinity"), "decode invalid_json"),
    "-Infinity": (raw("inf", amount="-Infinity"), "decode invalid_json"),
    "single quotes": (str(event("single")).encode(), "decode invalid_json"),
    "leading zero": (raw("zero", amount="007"), "decode invalid_json"),
    "line break in a string": (raw("break", status='"a\nb"'), "decode invalid_json"),
}
NO_EVENT: Mapping[str, tuple[object, str]] = {
    "a list": ([event("x")], "validate wrong_type"),
    "a number": (b"42", "validate wrong_type"),
    "JSON null": (b"null", "validate wrong_type"),
    "an empty object": ({}, "validate missing_field"),
    "no transaction": ({"event_type": CREATED, "timestamp": moment(0)}, "validate missing_field"),
    "a transaction that is null": (event("x") | {"transaction": None}, "validate wrong_type"),
    "a transaction that is text": (event("x") | {"transaction": "x"}, "validate wrong_type"),
    "an unknown event type": (event("x", kind="transaction.archived"), "validate unknown_event_type"),
    "an event type that is a number": (event("x") | {"event_type": 1}, "validate wrong_type"),
    "an empty id": (event("") | {"transaction": transaction("x") | {"id": ""}}, "validate empty_field"),
    "an id of 513 bytes": (event("i" * 513), "validate id_too_long"),
    "an id of 516 bytes in 258 characters": (event("\u00e9" * 258), "validate id_too_long"),
    "an id that is a number": (raw("x", id="7"), "validate wrong_type"),
    "an empty user": (event("x", user_id=""), "validate empty_field"),
    "a user that is null": (event("x", user_id=None), "validate wrong_type"),
    "an amount that is text": (event("x", amount="100.50"), "validate wrong_type"),
    "an amount that is null": (event("x", amount=None), "validate wrong_type"),
    "an amount that is true": (event("x", amount=True), "validate wrong_type"),
    "an amount of 1e400": (raw("x", amount="1e400"), "validate amount_not_finite"),
    "an amount of 1e-5000": (raw("x", amount="1e-5000"), "validate amount_too_small"),
    "an amount of 5,000 digits": (raw("x", amount="0." + "1" * 5000), "validate amount_too_long"),
    "a status that is a list": (event("x", status=[]), "validate wrong_type"),
    "metadata that is a list": (event("x", metadata=[1]), "validate wrong_type"),
    "metadata that is text": (event("x", metadata="none"), "validate wrong_type"),
    "a timestamp in 9999": (event("x", timestamp="9999-12-31T23:59:59Z"), "validate timestamp_in_future"),
    "a timestamp before 1970": (event("x", timestamp="1969-12-31T23:59:59Z"), "validate timestamp_too_old"),
    "a timestamp that is none": (event("x", timestamp="yesterday"), "validate invalid_timestamp"),
    "a timestamp that is a number": (event("x") | {"timestamp": 1_704_110_400}, "validate wrong_type"),
    "a 31st of February": (event("x", timestamp="2024-02-31T00:00:00Z"), "validate invalid_timestamp"),
    "a creation time that is none": (event("x", created_at="soon"), "validate invalid_timestamp"),
    "a root field _id": (event("x", _id="y"), "validate reserved_field"),
    "a root field _version": (event("x", _version=3), "validate reserved_field"),
    "a root field _source": (event("x", _source={}), "validate reserved_field"),
    "a root field in escapes": (raw("x").replace(b'"product"', b'"\\u005frouting"'), "validate reserved_field"),
    **{f"no {field}": (without(field), "validate missing_field") for field in sorted(NEEDED)},
}
GOOD: Mapping[str, object] = {
    "pretty": json.dumps(event("pretty"), indent=4).encode(),
    "carriage-returns": json.dumps(event("carriage-returns"), indent=1).replace("\n", "\r\n").encode(),
    "5000-keys": event("5000-keys", metadata={f"key {number}": number for number in range(5000)}),
    "dotted": event("dotted", metadata={"a.b.c": 1, "a": {"b": 2}, ".": 3, "..": 4, "a.": 5, ".a": 6}),
    "dotted-root": event("dotted-root", **{"merchant.name": "x"}),
    "empty-key": event("empty-key", metadata={"": "nothing", " ": 1}),
    "metadata-underscore": event("metadata-underscore", metadata={"_id": "y", "_version": 1, "_source": {}}),
    "own-fields": event("own-fields", _enriched="no", search_content="mine", enrichment=7, event_type="x"),
    "unknown-type": event("unknown-type", transaction_type="barter"),
    "no-metadata": event("no-metadata", metadata=None),
    "no-product": event("no-product", product=None),
    "unknown-fields": event("unknown-fields", **{f"field{number}": {"deep": [number]} for number in range(200)}),
    "nested-metadata": raw("nested-metadata", metadata=nested(15)),
    "duplicate-metadata-free": raw("duplicate-metadata-free", metadata='{"k":1}'),
    "emoji": event("emoji", metadata={"merchant_name": "\U0001f600 \u0000 \u202e"}),
    "id of 512 bytes": event("i" * 512),
    'quote"and\\slash/': event('quote"and\\slash/'),
    "\u00e9\u6f22\U0001f600": event("\u00e9\u6f22\U0001f600"),
    "offset": event("offset", timestamp="2024-01-01T14:00:00+02:00"),
    "no-offset": event("no-offset", timestamp="2024-01-01T12:00:00"),
    "created-9999": event("created-9999", created_at="9999-12-31T23:59:59Z"),
    **{f"long-{name}": event(f"long-{name}", **{name: LONG}) for name in TEXTS},
    "long-metadata": event("long-metadata", metadata={"merchant_name": LONG, "note": LONG, LONG[:2000]: "key"}),
    "long-unknown": event("long-unknown", remark=LONG),
}


REFUSED = "index document_parsing_exception"
NO_TEXT = "decode invalid_json"
ODD: Mapping[str, tuple[bytes, str]] = {
    "duplicate": (raw("duplicate", metadata='{"k":1,"k":2}'), REFUSED),
    "duplicate-root": (raw("duplicate-root").replace(b'"status"', b'"status":"pending","status"'), REFUSED),
    "surrogate": (raw("surrogate", metadata='{"merchant_name":"\\ud800"}'), NO_TEXT),
    "surrogate-key": (raw("surrogate-key", metadata='{"\\ud800":1}'), NO_TEXT),
    "surrogate-status": (raw("surrogate-status", status='"\\udfff"'), NO_TEXT),
    "surrogate-id": (raw("surrogate-id", id='"\\ud800"'), NO_TEXT),
    "nul-id": (raw("nul-id", id='"a\\u0000b"'), "validate invalid_id"),
    "nul-key": (raw("nul-key", metadata='{"a\\u0000b":1}'), REFUSED),
    "nul-value": (raw("nul-value", status='"a\\u0000b"'), INDEXED),
    "control-key": (raw("control-key", metadata='{"\\u0001\\n\\t":1}'), INDEXED),
    "deep-metadata": (raw("deep-metadata", metadata=nested(60)), REFUSED),
    "deep-unknown": (raw("deep-unknown", unknown=nested(990)), "decode nested_too_deep"),
    "huge-number": (raw("huge-number", metadata=f'{{"n":{"9" * 3000}}}'), REFUSED),
    "huge-exponent": (raw("huge-exponent", metadata='{"n":1e999999999}'), INDEXED),
    "dots": (raw("dots", metadata='{"...":1,"a..b":2}'), INDEXED),
    "dots-root": (raw("dots-root", **{"a..b": "1"}), REFUSED),
    "dot-root": (raw("dot-root", **{".": "1"}), REFUSED),
    "empty-root": (raw("empty-root", **{"": "1"}), REFUSED),
    "long-key": (raw("long-key", metadata=json.dumps({"k" * 40_000: 1})), REFUSED),
}


def identifier_of(name: str) -> str:
    return "i" * 512 if name == "id of 512 bytes" else name


@pytest.fixture
def hostile(indexer: Callable[..., Indexer]) -> Callable[[], Indexer]:
    """An indexer whose batches hold good and bad events together."""
    return lambda: indexer(CONSUMER_BATCH_SIZE="100", CONSUMER_BATCH_TIMEOUT="1")


async def test_every_bad_message_is_dead_lettered_and_every_good_one_beside_it_is_indexed(
    place: Place, hostile: Callable[[], Indexer]
) -> None:
    process = await hostile().ready()
    mapping = (await place.es.indices.get_mapping(index=place.index)).body
    good = list(GOOD.values())
    bad = {**NOT_JSON, **NO_EVENT}
    named: dict[tuple[int, int], str] = {}
    for at, (name, (value, _)) in enumerate(bad.items()):
        (sent, *_) = await place.publish([value, good[at % len(good)]] if at < len(good) else [value])
        named[sent.partition, sent.offset] = name
    assert len(bad) > len(good)

    outcomes = await process.settled(len(good) + len(bad))
    found = {}
    for letter in await place.dead_letters():
        headers = dict(letter.headers)
        place_of = int(headers["dead-letter-partition"]), int(headers["dead-letter-offset"])
        found[named.get(place_of, str(letter.value)[:200])] = _why(letter)
    assert found == {name: wanted for name, (_, wanted) in bad.items()}
    assert outcomes == {"indexed": len(good), "dead_lettered": len(bad)}
    documents = await place.documents()
    assert documents.keys() == {identifier_of(name) for name in GOOD}
    assert (await place.es.indices.get_mapping(index=place.index)).body == mapping
    assert await process.metric("breaker_open") == 0
    assert {"_enriched": True, "event_type": CREATED}.items() <= documents["own-fields"].items()
    assert documents["own-fields"]["search_content"] != "mine"
    assert documents["metadata-underscore"]["metadata"] == {"_id": "y", "_version": 1, "_source": {}}
    assert documents["unknown-type"]["_enriched"] is False
    assert len(documents["5000-keys"]["metadata"]) == 5000
    assert documents["long-metadata"]["metadata"]["note"] == LONG
    assert {documents[name]["_version"] for name in ("offset", "no-offset", "pretty")} == {1_704_110_400_000_000 << 10}
    assert await eventually(place.lag, 0) == 0


async def test_what_only_elasticsearch_can_refuse_is_dead_lettered_and_its_neighbours_are_indexed(
    place: Place, hostile: Callable[[], Indexer]
) -> None:
    """Duplicate keys, lone surrogates, and values that no mapping takes: indexed or dead-lettered, never lost."""
    process = await hostile().ready()
    await place.publish([value for name, (bad, _) in ODD.items() for value in (bad, event(f"beside {name}"))])
    outcomes = await process.settled(2 * len(ODD))
    documents = await place.documents()
    assert {f"beside {name}" for name in ODD} <= documents.keys()
    letters = {letter.value: _why(letter) for letter in await place.dead_letters()}
    found = {name: letters.get(value, INDEXED if name in documents else "lost") for name, (value, _) in ODD.items()}
    assert found == {name: outcome for name, (_, outcome) in ODD.items()}
    assert outcomes == {"indexed": len(documents), "dead_lettered": len(letters)}


def _why(letter: Any) -> str:
    headers = {name: value.decode() for name, value in letter.headers}
    return f"{headers['dead-letter-stage']} {headers['dead-letter-error']}"


async def test_amounts_and_all_other_bytes_of_a_transaction_are_kept_as_they_came(
    place: Place, hostile: Callable[[], Indexer]
) -> None:
    process = await hostile().ready()
    await place.publish([raw(name, amount=text) for name, text in ODD_NUMBERS.items()])
    await place.publish([raw("metadata", metadata='{"rate": 1.10, "big": 18446744073709551617, "e": 1E5}')])
    assert await process.settled(len(ODD_NUMBERS) + 1) == {"indexed": len(ODD_NUMBERS) + 1}
    for name, text in ODD_NUMBERS.items():
        fields = msgspec.json.decode(await place.raw_source(name), type=dict[str, msgspec.Raw])
        assert bytes(fields["amount"]).decode() == text
    assert '{"rate": 1.10, "big": 18446744073709551617, "e": 1E5}' in await place.raw_source("metadata")


async def test_events_of_900_kb_are_indexed_and_bad_ones_of_that_size_are_dead_lettered(
    place: Place, hostile: Callable[[], Indexer]
) -> None:
    process = await hostile().ready()
    large = {f"note {number}": "n" * 30_000 for number in range(30)}
    good = [event(f"large-{number}", metadata=large) for number in range(8)]
    bad = [event("", metadata=large, id=""), json.dumps(event("cut", metadata=large)).encode()[:-1]]
    await place.publish([*good[:4], *bad, *good[4:], event("small")])
    assert await process.settled(11) == {"indexed": 9, "dead_lettered": 2}
    assert min(len(letter.value) for letter in await place.dead_letters()) > 900_000
    assert (await place.documents())["large-7"]["metadata"] == large
    assert await process.metric("batch_bytes_count") > 1


async def test_a_deletion_may_carry_anything_beside_its_ids(place: Place, hostile: Callable[[], Indexer]) -> None:
    process = await hostile().ready()
    await place.publish([event("a"), event("b")])
    await process.settled(2)
    odd = {"id": "a", "user_id": "user_1", "amount": "many", "_id": 1, "metadata": []}
    await place.publish([{"event_type": DELETED, "transaction": odd, "timestamp": moment(5)}])
    assert (await process.settled(3))["deleted"] == 1
    assert (await place.documents()).keys() == {"b"}


async def test_every_date_that_is_accepted_is_found_by_a_range(place: Place, hostile: Callable[[], Indexer]) -> None:
    dates = {
        "plain": "2024-01-01T12:00:00Z",
        "micros": "2024-01-01T12:00:00.123456Z",
        "nanos": "2024-01-01T12:00:00.123456789Z",
        "finer": "2024-01-01T12:00:00.1234567891Z",
        "no-offset": "2024-01-01T12:00:00",
        "small": "2024-01-01t12:00:00z",
        "blank": "2024-01-01 12:00:00Z",
        "leap": "2023-12-31T23:59:60Z",
        "offset-18": "2024-01-01T23:00:00+18:00",
        "offset-23": "2024-01-01T23:00:00+23:59",
        "minus": "2024-01-01T00:00:00-00:00",
    }
    process = await hostile().ready()
    await place.publish([event(name, timestamp=date, created_at=date) for name, date in dates.items()])
    assert await process.settled(len(dates)) == {"indexed": len(dates)}
    await place.es.indices.refresh(index=place.name)
    for field in ("created_at", "_updated_at"):
        day = {"range": {field: {"gte": "2023-12-31T00:00:00Z", "lt": "2024-01-03T00:00:00Z"}}}
        found = await place.es.search(index=place.name, query=day, size=100, source=False)
        assert {hit["_id"] for hit in found["hits"]["hits"]} == dates.keys(), field


async def test_no_spelling_of_a_name_is_found_in_a_field_of_ours(place: Place, hostile: Callable[[], Indexer]) -> None:
    process = await hostile().ready()
    forged = {
        "enrichment.day": ("enrichment.day", "2001-01-01"),
        "\\u0065nrichment.day": ("enrichment.day", "2001-01-01"),
        "_updated_at.": ("_updated_at", "2001-01-01"),
        "search_content.": ("search_content", "forged"),
        "event_type.": ("event_type", "forged"),
        "source.": ("source", "forged"),
    }
    names = list(forged)
    for number, (name, (_, value)) in enumerate(forged.items()):
        whole = json.dumps(event(f"t{number}")).replace('"user_id"', f'"{name}": "{value}", "user_id"')
        await place.publish([whole.encode()])
    assert await process.settled(len(names)) == {"indexed": len(names)}
    await place.es.indices.refresh(index=place.name)
    for field, value in forged.values():
        assert (await place.es.count(index=place.name, query={"match": {field: value}}))["count"] == 0, field
    found = await place.es.count(index=place.name, query={"term": {"source": "test"}})
    assert found["count"] == len(names)
