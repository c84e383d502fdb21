"""From bytes to an event, or to the stage and the code of why there is none."""

import json
import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from fixtures.events import CREATED, DELETED, LATEST, UPDATED, at, event, transaction, value
from fixtures.hostile_inputs import damaged
from fixtures.records import Reported, undecoded
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.document import mappings
from activity_indexer.errors import DecodeError, EventError
from activity_indexer.event import Event
from activity_indexer.origin import position_of
from activity_indexer.pipeline import decode
from activity_indexer.pipeline.decode import (
    MAPPED_FIELDS,
    MAX_ID_BYTES,
    METADATA_FIELDS,
    OWN_FIELDS,
    decode_event,
    decode_record,
)
from activity_indexer.timestamps import is_searchable


def around(body: str, kind: str = CREATED, timestamp: str = "2024-01-01T12:00:00Z") -> bytes:
    """An event around a transaction's own text."""
    return b'{"event_type":"%b","transaction":%b,"timestamp":"%b"}' % (
        kind.encode(),
        body.encode(),
        timestamp.encode(),
    )


def plus(text: str) -> bytes:
    """A valid event whose transaction has further members, as text."""
    return around(json.dumps(transaction("a"))[:-1] + "," + text + "}")


def without(name: str, *, inside: bool = True) -> bytes:
    whole = event("a")
    del (whole["transaction"] if inside else whole)[name]
    return json.dumps(whole).encode()


def changed(**fields: Any) -> bytes:
    return json.dumps(event("a") | fields).encode()


def amount(text: str) -> bytes:
    return around(json.dumps(transaction("a", amount=0)).replace('"amount": 0', f'"amount": {text}'))


def decoded(data: bytes) -> Event:
    return decode_event(data, LATEST)


def refused(data: bytes | None) -> tuple[str, str]:
    with pytest.raises(EventError) as refusal:
        decode_event(data, LATEST)
    assert refusal.value.message
    assert len(refusal.value.message) < 600
    return refusal.value.stage, refusal.value.code


NOT_JSON = {
    "null": (None, "empty_value"),
    "empty": (b"", "empty_value"),
    "blank": (b" \n ", "invalid_json"),
    "text": (b"hello", "invalid_json"),
    "truncated": (value()[:-9], "invalid_json"),
    "two documents": (value() + value(), "invalid_json"),
    "two lines": (value() + b"\n" + value(), "invalid_json"),
    "UTF-16": (value().decode().encode("utf-16"), "not_utf8"),
    "UTF-16 without a mark": (value().decode().encode("utf-16-le"), "invalid_json"),
    "byte order mark": (b"\xef\xbb\xbf" + value(), "invalid_json"),
    "invalid UTF-8": (value().replace(b"Starbucks", b"\xff\xfe"), "not_utf8"),
    "surrogates in UTF-8": (value().replace(b"Starbucks", b"\xed\xa0\x80"), "not_utf8"),
    "overlong UTF-8": (value().replace(b"Starbucks", b"\xc0\xaf"), "not_utf8"),
    "20,000 arrays": (plus('"x":' + "[" * 20_000 + "]" * 20_000), "nested_too_deep"),
    "20,000 objects": (plus('"x":' + '{"a":' * 20_000 + "1" + "}" * 20_000), "nested_too_deep"),
    "20,000 open arrays": (plus('"x":' + "[" * 20_000), "nested_too_deep"),
    "NaN": (amount("NaN"), "invalid_json"),
    "Infinity": (amount("Infinity"), "invalid_json"),
    "-Infinity elsewhere": (plus('"x":-Infinity'), "invalid_json"),
    "leading zero": (amount("007"), "invalid_json"),
    "plus": (amount("+1"), "invalid_json"),
    "trailing comma": (plus('"x":1,'), "invalid_json"),
    "single quotes": (value().replace(b'"', b"'"), "invalid_json"),
    "comment": (plus('/* x */ "x":1'), "invalid_json"),
    "line break in a string": (plus('"x":"a\nb"'), "invalid_json"),
    "control character in a string": (plus('"x":"a\x01b"'), "invalid_json"),
    "lone surrogate": (plus('"x":"\\ud800"'), "invalid_json"),
    "lone surrogate in the id": (around('{"id":"\\udc00","user_id":"u"}', DELETED), "invalid_json"),
    "bad escape": (plus('"x":"\\q"'), "invalid_json"),
}


@pytest.mark.parametrize(("data", "code"), NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_fails_at_the_decode_stage(data: bytes | None, code: str) -> None:
    assert refused(data) == ("decode", code)


NOT_AN_EVENT = {
    "null": (b"null", "wrong_type"),
    "array": (b"[]", "wrong_type"),
    "text": (b'"x"', "wrong_type"),
    "number": (b"1", "wrong_type"),
    "nothing in it": (b"{}", "missing_field"),
    "transaction null": (changed(transaction=None), "wrong_type"),
    "transaction array": (changed(transaction=[]), "wrong_type"),
    "transaction text": (changed(transaction="x"), "wrong_type"),
    "event_type number": (changed(event_type=1), "wrong_type"),
    "event_type null": (changed(event_type=None), "wrong_type"),
    "event_type unknown": (changed(event_type="transaction.archived"), "unknown_event_type"),
    "event_type in capitals": (changed(event_type="Transaction.Created"), "unknown_event_type"),
    "event_type empty": (changed(event_type=""), "unknown_event_type"),
    "event_type long": (changed(event_type="x" * 40_000), "unknown_event_type"),
    "timestamp number": (changed(timestamp=1_704_110_400), "wrong_type"),
    "timestamp null": (changed(timestamp=None), "wrong_type"),
    "timestamp empty": (changed(timestamp=""), "invalid_timestamp"),
    "timestamp words": (changed(timestamp="yesterday"), "invalid_timestamp"),
    "timestamp date": (changed(timestamp="2024-01-01"), "invalid_timestamp"),
    "timestamp 30 February": (changed(timestamp="2024-02-30T00:00:00Z"), "invalid_timestamp"),
    "timestamp long": (changed(timestamp="2" * 40_000), "invalid_timestamp"),
    "timestamp of 1970": (changed(timestamp="1970-01-01T00:00:00Z"), "timestamp_too_old"),
    "timestamp of year 1": (changed(timestamp="0001-01-01T00:00:00+10:00"), "timestamp_too_old"),
    "timestamp of year 9999": (changed(timestamp="9999-12-31T23:59:59Z"), "timestamp_in_future"),
    "timestamp at the end of time": (changed(timestamp="9999-12-31T23:59:60-23:59"), "timestamp_in_future"),
    "id empty": (value(id=""), "empty_field"),
    "id number": (value(id=7), "wrong_type"),
    "id null": (value(id=None), "wrong_type"),
    "id of 513 bytes": (value("x" * 513), "id_too_long"),
    "id of 514 bytes in 257 characters": (value("é" * 257), "id_too_long"),
    "id of 129 emoji": (value("😀" * 129), "id_too_long"),
    "id with NUL": (value("a\0b"), "invalid_id"),
    "user_id empty": (value(user_id=""), "empty_field"),
    "user_id number": (value(user_id=7), "wrong_type"),
    "status null": (value(status=None), "wrong_type"),
    "currency number": (value(currency=1), "wrong_type"),
    "product number": (value(product=1), "wrong_type"),
    "created_at null": (value(created_at=None), "wrong_type"),
    "created_at words": (value(created_at="soon"), "invalid_timestamp"),
    "created_at empty": (value(created_at=""), "invalid_timestamp"),
    "amount text": (amount('"1.5"'), "wrong_type"),
    "amount null": (amount("null"), "wrong_type"),
    "amount true": (amount("true"), "wrong_type"),
    "amount object": (amount("{}"), "wrong_type"),
    "amount 1e400": (amount("1e400"), "amount_not_finite"),
    "amount -1e400": (amount("-1e400"), "amount_not_finite"),
    "amount of 400 digits": (amount("9" * 400), "amount_not_finite"),
    "amount of 300 places": (amount("0." + "1" * 300), "amount_too_long"),
    "amount 1e-1000": (amount("1e-1000"), "amount_too_small"),
    "metadata text": (value(metadata="x"), "wrong_type"),
    "metadata array": (value(metadata=[1]), "wrong_type"),
    "metadata true": (value(metadata=True), "wrong_type"),
    "source number": (changed(source=5), "wrong_type"),
    "source object": (changed(source={"a": 1}), "wrong_type"),
    "deletion without id": (around('{"user_id":"u"}', DELETED), "missing_field"),
    "deletion without user_id": (around('{"id":"a"}', DELETED), "missing_field"),
    "deletion with empty id": (around('{"id":"","user_id":"u"}', DELETED), "empty_field"),
    "deletion with a long id": (around(json.dumps({"id": "x" * 513, "user_id": "u"}), DELETED), "id_too_long"),
}


@pytest.mark.parametrize(("data", "code"), NOT_AN_EVENT.values(), ids=NOT_AN_EVENT)
def test_json_that_is_no_event_fails_at_the_validate_stage(data: bytes, code: str) -> None:
    assert refused(data) == ("validate", code)


@pytest.mark.parametrize("kind", [CREATED, UPDATED])
@pytest.mark.parametrize("name", ["id", "user_id", "transaction_type", "status", "currency", "amount", "created_at"])
def test_every_required_field_is_required_and_named(kind: str, name: str) -> None:
    whole = event("a", kind)
    del whole["transaction"][name]
    with pytest.raises(EventError, match=name) as refusal:
        decoded(json.dumps(whole).encode())
    assert (refusal.value.stage, refusal.value.code) == ("validate", "missing_field")


@pytest.mark.parametrize("name", ["event_type", "transaction", "timestamp"])
def test_the_envelopes_fields_are_required_and_named(name: str) -> None:
    with pytest.raises(EventError, match=name) as refusal:
        decoded(without(name, inside=False))
    assert refusal.value.code == "missing_field"


def test_source_and_product_and_metadata_may_be_absent() -> None:
    assert decoded(without("source", inside=False))
    assert decoded(without("product")).transaction.product is None
    assert bytes(decoded(without("metadata")).transaction.metadata) == b""


@pytest.mark.parametrize("name", sorted(METADATA_FIELDS))
@pytest.mark.parametrize("escaped", [False, True])
def test_a_root_field_that_elasticsearch_keeps_for_itself_is_refused_by_name(name: str, escaped: bool) -> None:
    key = "\\u005f" + name[1:] if escaped else name
    with pytest.raises(EventError, match=name) as refusal:
        decoded(plus(f'"{key}":"x"'))
    assert (refusal.value.stage, refusal.value.code) == ("validate", "reserved_field")


@pytest.mark.parametrize("key", ["\\u005Fid", "_\\u0069d", "\\u005f\\u0069\\u0064"])
def test_no_spelling_hides_a_reserved_name(key: str) -> None:
    assert refused(plus(f'"{key}":1')) == ("validate", "reserved_field")


@pytest.mark.parametrize("name", sorted(OWN_FIELDS))
@pytest.mark.parametrize("escaped", [False, True])
def test_the_producers_version_of_an_own_field_gives_way(name: str, escaped: bool) -> None:
    key = f"\\u{ord(name[0]):04x}{name[1:]}" if escaped else name
    body = json.loads(decoded(plus(f'"{key}":{{"x":1}},"kept":[1]')).body)
    assert body == transaction("a") | {"kept": [1]}


@pytest.mark.parametrize(
    "text", ['"x":{"_id":1}', '"metadata":{"_id":"x","_source":{"a":1}}', '"_other":1', '"__id":1']
)
def test_such_names_are_welcome_elsewhere(text: str) -> None:
    body = json.dumps(transaction("a") | {"metadata": None}).replace(', "metadata": null', "")
    assert decoded(around(body[:-1] + "," + text + "}")).body == (body[:-1] + "," + text + "}").encode()


HOSTILE = {
    "unicode": '"x":"日本語 😀 \\u00e9 \\ud83d\\ude00 \u2028 \u202e"',
    "big integer": '"x":123456789012345678901234567890',
    "decimals": '"x":0.1000000000000000055511151231257827',
    "huge number in another field": '"x":1e400',
    "zero byte": '"x":"\\u0000"',
    "escapes": '"x":"\\n\\r\\t\\"\\\\\\/"',
    "deep": '"x":' + "[" * 500 + "]" * 500,
    "5,000 keys": '"x":{' + ",".join(f'"k{number}":{number}' for number in range(5000)) + "}",
    "40 KB string": '"x":"' + "y" * 40_000 + '"',
    "40 KB key": '"' + "k" * 40_000 + '":1',
    "dotted": '"a.b.c":1,"metadata.x":2',
    "duplicate": '"x":1,"x":2',
    "empty key": '"":1',
    "900 KB": '"x":"' + "z" * 900_000 + '"',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_but_valid_events_pass_byte_for_byte(text: str) -> None:
    body = json.dumps(transaction("a"))[:-1] + "," + text + "}"
    assert decoded(around(body)).body == body.encode()


@pytest.mark.parametrize(
    "text", ["0", "-0", "1", "-1.50", "100.5", "1e3", "1E+2", "1e-999", "9007199254740993", "1" * 256]
)
def test_amounts_keep_every_digit(text: str) -> None:
    found = decoded(amount(text))
    assert bytes(found.transaction.amount).strip() == text.encode()
    assert f'"amount": {text}'.encode() in found.body


def test_pretty_printed_json_becomes_one_line_of_the_same_meaning() -> None:
    found = decoded(json.dumps(event("a", metadata={"note": "two\nlines"}), indent=2).replace("\n", "\r\n").encode())
    assert b"\n" not in found.body
    assert json.loads(found.body) == transaction("a", metadata={"note": "two\nlines"})


def test_white_space_around_the_transaction_is_not_part_of_it() -> None:
    body = json.dumps(transaction("a"))
    assert decoded(around(f" \t\r\n{body} \n ")).body == body.encode()


def test_escaped_names_of_known_fields_are_understood() -> None:
    data = value("a").replace(b'"id"', b'"\\u0069d"').replace(b'"timestamp"', b'"\\u0074imestamp"')
    assert decoded(data).transaction.id == "a"


def test_an_id_may_have_512_bytes() -> None:
    for identifier in ("x" * MAX_ID_BYTES, "é" * (MAX_ID_BYTES // 2), "😀" * (MAX_ID_BYTES // 4)):
        assert decoded(value(identifier)).transaction.id == identifier


def test_an_event_may_be_as_far_in_the_future_as_is_believed_and_no_further() -> None:
    latest = 1_704_110_400_000_000
    assert decode_event(value(seconds=0), latest).timestamp == latest * 1000
    with pytest.raises(EventError) as refusal:
        decode_event(value(seconds=0.000001), latest)
    assert refusal.value.code == "timestamp_in_future"


@pytest.mark.parametrize(("kind", "rank"), [(CREATED, 0), (UPDATED, 1), (DELETED, 2)])
def test_an_event_carries_its_version_and_its_time_in_utc(kind: str, rank: int) -> None:
    found = decode_event(changed(event_type=kind, timestamp="2024-01-01T14:00:00.25+02:00"), LATEST)
    assert found.timestamp == 1_704_110_400_250_000_000
    assert found.version == (1_704_110_400_250_000 * 4 + rank) * 256
    assert found.updated_at == "2024-01-01T12:00:00.250000Z"


@pytest.mark.parametrize(
    ("timestamp", "updated_at"),
    [
        ("2024-01-01T12:00:00Z", "2024-01-01T12:00:00Z"),
        ("2024-01-01T12:00:00.123456Z", "2024-01-01T12:00:00.123456Z"),
        ("2023-12-31T23:59:60Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01 12:00:00", "2024-01-01T12:00:00Z"),
        ("2024-01-01T13:00:00.123456789+01:00", "2024-01-01T12:00:00.123456789Z"),
        ("2024-01-01T12:00:00.0000000019Z", "2024-01-01T12:00:00.000000001Z"),
    ],
)
def test_the_time_is_written_as_elasticsearch_reads_it(timestamp: str, updated_at: str) -> None:
    assert decoded(changed(timestamp=timestamp)).updated_at == updated_at


def test_spellings_of_one_instant_are_one_event() -> None:
    spellings = ["2024-01-01T12:00:00Z", "2024-01-01T12:00:00.000000Z", "2024-01-01T13:00:00+01:00"]
    assert len({decoded(changed(timestamp=each)).message_id for each in spellings}) == 1


def test_a_deletion_has_no_body_and_needs_no_more_than_ids() -> None:
    found = decoded(around('{"id":"a","user_id":"u","_id":1,"amount":"none","created_at":7}', DELETED))
    assert (found.transaction.id, found.transaction.user_id, found.body) == ("a", "u", b"")
    assert found.deleted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text().map("x".__add__), json_values, max_size=4), st.sampled_from([None, 0, 2]))
def test_any_valid_event_keeps_all_that_it_carries(fields: dict[str, Any], indent: int | None) -> None:
    whole = event("a", CREATED, at(0), **fields)
    found = decoded(json.dumps(whole, indent=indent, ensure_ascii=False).encode(errors="replace"))
    assert b"\n" not in found.body
    expected = json.loads(json.dumps(whole["transaction"], ensure_ascii=False).encode(errors="replace"))
    assert json.loads(found.body) == expected


@given(st.binary(max_size=200) | json_values.map(lambda found: json.dumps(found).encode()))
def test_whatever_else_comes_is_refused_with_a_reason(data: bytes) -> None:
    stage, code = refused(data)
    assert stage in ("decode", "validate")
    assert code.isidentifier()


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_event_never_raises_anything_else(place: int, byte: int) -> None:
    data = bytearray(value())
    data[place % len(data)] = byte
    try:
        found = decode_event(bytes(data), LATEST)
    except EventError:
        return
    json.loads(found.body or b"{}")


def escaped(name: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in name)


@pytest.mark.parametrize("name", sorted(OWN_FIELDS))
@pytest.mark.parametrize("tail", [".sign", ".a.b", ".", "..x", ". "])
@pytest.mark.parametrize("spelling", [str, escaped])
def test_no_spelling_reaches_a_field_of_ours(name: str, tail: str, spelling: Callable[[str], str]) -> None:
    data = plus(f'"{spelling(name + tail)}":"forged","kept":1.50')
    assert json.loads(decoded(data).body) == {**transaction("a"), "kept": 1.5}
    assert b"1.50" in decoded(data).body


@pytest.mark.parametrize("name", ["Enrichment.sign", "enrichments.sign", "enrichment .sign", "sources", "x.enrichment"])
def test_other_names_are_kept(name: str) -> None:
    assert json.loads(decoded(plus(f'"{name}":1')).body)[name] == 1


def test_names_below_the_root_are_free() -> None:
    inner = '{"enrichment.sign":1,"source":2,"_version":3,"id.":4}'
    assert decoded(plus(f'"inner":{inner}')).body.endswith(f'"inner":{inner}}}'.encode())


@pytest.mark.parametrize("name", sorted(MAPPED_FIELDS))
@pytest.mark.parametrize("tail", [".", ".x", ".x.y"])
@pytest.mark.parametrize("spelling", [str, escaped])
def test_no_name_adds_a_value_to_a_field_of_the_transaction(
    name: str, tail: str, spelling: Callable[[str], str]
) -> None:
    assert refused(plus(f'"{spelling(name + tail)}":1')) == ("validate", "reserved_field")


@pytest.mark.parametrize("name", ["_id.x", "_source.", "_version.a"])
def test_names_with_a_dot_hide_no_reserved_name(name: str) -> None:
    assert refused(plus(f'"{name}":1')) == ("validate", "reserved_field")


def test_mapped_fields_are_those_of_the_mapping() -> None:
    assert MAPPED_FIELDS | {"metadata"} == mappings({})["properties"].keys() - OWN_FIELDS


DUPLICATES = {
    "event_type": value().replace(b'{"event_type"', b'{"event_type":"transaction.deleted","event_type"'),
    "timestamp": value().replace(b'"timestamp"', b'"timestamp":"2020-01-01T00:00:00Z","timestamp"'),
    "transaction": value().replace(b'"transaction"', b'"transaction":{},"transaction"', 1),
    "source": value().replace(b'"source"', b'"source":"other","source"'),
    "unknown": value().replace(b'"source"', b'"x":1,"x":2,"source"'),
    "escaped": value().replace(b'"source"', b'"\\u0073ource":"other","source"'),
    "quoted": value().replace(b'"source"', b'"\\"x":1,"\\"x":2,"source"'),
    "deletion": value(kind=DELETED).replace(b'"source"', b'"source":"other","source"'),
    "deletion without a source": around('{"id":"a","user_id":"u"}', DELETED).replace(
        b'"timestamp"', b'"x":1,"x":2,"timestamp"'
    ),
    "deleted id": around('{"id":"b","id":"a","user_id":"u"}', DELETED),
    "deleted user": around('{"id":"a","user_id":"u","x":[{"id":1,"user_id":2}],"user_\\u0069d":"v"}', DELETED),
    "beside an own field": plus('"_enriched":true,"status":"other"'),
    "beside an odd date": plus('"status":"other"').replace(b"T12:00:00Z", b"t12:00:00z", 1),
}


@pytest.mark.parametrize("data", DUPLICATES.values(), ids=list(DUPLICATES))
def test_a_name_that_comes_twice_is_refused(data: bytes) -> None:
    assert refused(data) == ("validate", "duplicate_field")


SINGLE = {
    "the same name elsewhere": plus('"x":{"event_type":1,"source":2,"id":3}'),
    "in the metadata": value(metadata={"source": "x", "event_type": "y", "id": "z"}),
    "in a deletion": around('{"id":"a","user_id":"u","x":{"id":"b","user_id":"v"}}', DELETED),
    "escaped quotes": changed(source='say "source":"no"'),
    "quotes as code points": value().replace(b'"test"', b'"\\u0022source\\u0022"'),
    "quotes in names": value().replace(b'"source"', b'"\\u0022":1,"\\"\\"":2,"source"'),
    "further names": value().replace(b'"source"', b'"schema":{"source":1},"version":2,"source"'),
}


@pytest.mark.parametrize("data", SINGLE.values(), ids=list(SINGLE))
def test_names_that_differ_are_no_duplicates(data: bytes) -> None:
    assert decoded(data).transaction.id == "a"


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none(), max_size=5),
    st.dictionaries(st.sampled_from(['x"', "y", "\\", "z.w"]), st.text(max_size=5), max_size=3),
    st.booleans(),
)
def test_names_are_counted_right_whatever_is_around_them(
    metadata: dict[str, Any], more: dict[str, str], ascii_only: bool
) -> None:
    whole = event("a", metadata=metadata) | more
    whole["transaction"] |= more
    data = json.dumps(whole, ensure_ascii=ascii_only).encode(errors="replace")
    assert json.loads(decoded(data).body).keys() == whole["transaction"].keys()
    for name in (*whole, *more):
        twice = b'{%b:"again",%b' % (json.dumps(name, ensure_ascii=ascii_only).encode(), data[1:])
        assert refused(twice)[1] in ("duplicate_field", "wrong_type")


@pytest.mark.parametrize("text", ["[]", "[ ]", " [\n] "])
def test_an_empty_array_of_metadata_is_an_empty_object(text: str) -> None:
    data = value(metadata=0).replace(b'"metadata": 0', b'"metadata":' + text.encode())
    found = decoded(data)
    assert json.loads(found.body) == transaction("a", metadata={})
    assert bytes(found.transaction.metadata) == b"{}"
    assert found.body.count(b"\n") == 0


DATES = {
    "2024-01-01t12:00:00Z": "2024-01-01T12:00:00Z",
    "2024-01-01T12:00:00z": "2024-01-01T12:00:00Z",
    "2024-01-01 12:00:00": "2024-01-01T12:00:00Z",
    "2023-12-31T23:59:60Z": "2024-01-01T00:00:00Z",
    "2024-01-01T12:00:00.1234567891Z": "2024-01-01T12:00:00.123456789Z",
    "2024-01-02T07:00:00+19:00": "2024-01-01T12:00:00Z",
    "2024-01-01T12:00:00-18:01": "2024-01-02T06:01:00Z",
}


@pytest.mark.parametrize(("text", "normal"), DATES.items())
@pytest.mark.parametrize("same", [True, False], ids=["as the event's", "another"])
def test_a_date_that_elasticsearch_does_not_read_is_written_in_normal_form(text: str, normal: str, same: bool) -> None:
    data = changed(transaction=transaction("a", created_at=text, amount=0), timestamp=text if same else at(0))
    found = decoded(data.replace(b'"amount": 0', b'"amount": 1.50'))
    assert json.loads(found.body)["created_at"] == normal
    assert b'"amount":1.50' in found.body


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T12:00:00Z",
        "2024-01-01T12:00:00",
        "2024-01-01T12:00:00.1Z",
        "2024-01-01T12:00:00.123456789Z",
        "2024-01-01T12:00:00+18:00",
        "2024-01-01T12:00:00.5-17:59",
        "2024-01-01T12:00:00-00:00",
        "0001-01-01T00:00:00Z",
    ],
)
def test_a_date_that_elasticsearch_reads_stays_as_it_came(text: str) -> None:
    data = value(created_at=text)
    assert decoded(data).body == json.dumps(transaction("a", created_at=text)).encode()


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+19:00", "9999-12-31T23:59:59-19:00"])
def test_a_date_without_a_normal_form_is_refused(text: str) -> None:
    assert refused(value(created_at=text)) == ("validate", "invalid_timestamp")


@given(st.text("0123456789-:.TtZz+ ", min_size=19, max_size=36) | st.sampled_from(sorted(DATES)))
def test_every_date_that_is_written_is_one_that_elasticsearch_reads(text: str) -> None:
    try:
        found = decoded(value(created_at=text))
    except EventError:
        return
    assert is_searchable(json.loads(found.body)["created_at"])


def test_what_came_out_of_the_audit_comes_out_the_same_again() -> None:
    once = decoded(plus('"enrichment.sign":1,"note":"x"').replace(b"T12:00:00Z", b"t12:00:00z", 1))
    assert decoded(around(once.body.decode())).body == once.body


def test_the_source_of_the_event_is_kept_and_the_transactions_own_gives_way() -> None:
    found = decoded(plus('"source":{"system":"other"}').replace(b'"timestamp"', b'"source":"ours","timestamp"'))
    assert found.source == "ours"
    assert "source" not in json.loads(found.body)
    assert decoded(without("source", inside=False)).source is None
    assert decoded(changed(source=None)).source is None


def test_of_a_record_an_error_is_a_value_without_a_traceback() -> None:
    found = decode_record(Reported(b"hello"), LATEST)
    assert isinstance(found, DecodeError)
    assert (found.code, found.__traceback__, found.__context__) == ("invalid_json", None, None)


def test_a_record_that_could_not_be_decoded_itself_has_its_own_error() -> None:
    found = undecoded(b"raw")
    assert decode_record(found, LATEST) is found.error


def test_an_event_of_a_record_has_the_position_of_the_record() -> None:
    one = Reported(value(), 7)
    assert decode_record(one, LATEST) == decode_event(value(), LATEST, position_of(one))


AS_THEY_COME: list[dict[str, Any]] = [
    event("a"),
    event("a", UPDATED, "2024-01-01T12:00:00.123456Z", metadata=None),
    event("a", UPDATED, "2024-01-01T14:00:00.123456+02:00", created_at="2024-01-01T09:30:00.5-02:30", amount=-1e-7),
    event("a", timestamp="2024-01-01T12:00:00.123456", created_at="2024-01-01T12:00:00.123456", metadata={"é": "ü"}),
    event("a", UPDATED, "2024-01-01T12:00:00.123Z", created_at="2024-01-01T12:00:00+01:00"),
    {
        name: found
        for name, found in event("a", created_at="2024-01-01T12:00:00.123456789Z").items()
        if name != "source"
    },
    event("a") | {"transaction": {name: found for name, found in transaction("a").items() if name != "product"}},
]


def stated(found: Event | EventError) -> Any:
    """All that an event or an error says."""
    if isinstance(found, EventError):
        return type(found), found.code, found.message
    transaction = {name: getattr(found.transaction, name) for name in found.transaction.__struct_fields__}
    texts = {name: bytes(transaction[name]) for name in ("amount", "metadata")}
    return {name: getattr(found, name) for name in found.__struct_fields__} | {"transaction": transaction | texts}


@given(st.sampled_from(AS_THEY_COME), st.randoms(use_true_random=False), st.booleans())
def test_an_event_that_looks_usual_is_what_the_checks_one_by_one_find(
    whole: dict[str, Any], rng: random.Random, compact: bool
) -> None:
    data = damaged(rng, whole)
    if compact:
        data = data.replace(b'": ', b'":').replace(b", ", b",")
    quick = stated(decode_record(Reported(data), LATEST))
    with patch.object(decode, "_usual_transaction", return_value=None):
        assert quick == stated(decode_record(Reported(data), LATEST))


FRAMES = [
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"x"}',
    b'{"event_type": %s, "transaction": %s, "timestamp": %s, "source": "x"}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":null}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"\\u0041"}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"","":1}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"","":1,"":1}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"":1,"":1}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"":1,"":1,"a":2}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"","source":""}',
    b'{"event_type":%s,"transaction":%s,"timestamp":"","timestamp":%s}',
    b'{"event_type":%s,"transaction":0,"transaction":%s,"timestamp":%s}',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"x"}   ',
    b'{"event_type":%s,"transaction":%s,"timestamp":%s,"source":"x"}          ',
]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("changes", [{}, {"id": "a" * 129}, {"id": ""}, {"user_id": ""}, {"id": "\0"}, {"more": 1}])
def test_an_envelope_in_which_a_name_may_stand_twice_is_looked_at_closely(
    frame: bytes, changes: dict[str, Any]
) -> None:
    transaction = json.dumps(AS_THEY_COME[0]["transaction"] | changes, separators=(",", ":")).encode()
    data = frame % (b'"transaction.created"', transaction, b'"2024-01-01T12:00:00Z"')
    quick = stated(decode_record(Reported(data), LATEST))
    with patch.object(decode, "_usual_transaction", return_value=None):
        assert quick == stated(decode_record(Reported(data), LATEST))
    twice = [name for name in (b'""', b'"source"', b'"timestamp"', b'"transaction"') if frame.count(name + b":") > 1]
    assert ("duplicate_field" in str(quick)) == bool(twice)


@pytest.mark.parametrize("whole", AS_THEY_COME)
def test_what_nearly_all_events_are_like_is_usual(whole: dict[str, Any]) -> None:
    data = json.dumps(whole, ensure_ascii=False).replace("-1e-07", "-0.0000001").encode()
    with patch.object(decode, "_checked", side_effect=AssertionError):
        assert decoded(data).transaction.id == "a"
