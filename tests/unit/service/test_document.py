"""The two lines of a bulk request that make a document."""

import json
from decimal import Decimal
from typing import Any

import pytest
from fixtures.events import CREATED, DELETED, LATEST, UPDATED, encoded, value
from fixtures.events import event as made
from fixtures.records import enriched
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from msgspec import Raw

from activity_indexer.document import (
    MAX_KEYWORD,
    holds,
    index_line,
    live_document,
    mappings,
    order_of,
    settings,
    tombstone,
    with_version,
)
from activity_indexer.event import Event, Position
from activity_indexer.pipeline.decode import decode_event

NOW = b"2024-01-01T13:00:00Z"


def two_lines(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    assert data.endswith(b"\n")
    action, source = data[:-1].split(b"\n")
    return json.loads(action), json.loads(source, parse_float=Decimal)


def test_the_action_names_id_and_external_version() -> None:
    assert json.loads(index_line("a", 7)) == {"index": {"_id": "a", "version": 7, "version_type": "external"}}


@given(st.text(min_size=1))
def test_any_id_makes_one_line_of_json(identifier: str) -> None:
    line = index_line(identifier.encode(errors="replace").decode(), 1)
    assert b"\n" not in line
    assert json.loads(line)["index"]["_id"] == identifier.encode(errors="replace").decode()


def test_a_document_keeps_the_trace_id_of_its_event() -> None:
    event = decode_event(value(), LATEST)
    _, source = two_lines(live_document(event, enriched(), NOW, trace_id=b"ab" * 16))
    assert source["_trace_id"] == "ab" * 16
    _, plain = two_lines(live_document(event, enriched(), NOW))
    assert "_trace_id" not in plain


def test_a_live_document_is_the_transactions_own_bytes_with_what_is_added() -> None:
    event = decode_event(value("a", amount=1), LATEST)
    data = live_document(event, enriched({"day": "2024-01-01"}, 'a "quoted"\nword'), NOW)
    assert event.body[:-1] in data
    action, source = two_lines(data)
    assert action["index"]["_id"] == "a"
    assert action["index"]["version"] == event.version
    added = {name: source[name] for name in source if name not in json.loads(event.body)}
    assert added == {
        "event_type": "transaction.created",
        "source": "test",
        "_updated_at": "2024-01-01T12:00:00Z",
        "_position": "0:-1:-1",
        "_enriched": True,
        "_enriched_at": "2024-01-01T13:00:00Z",
        "enrichment": {"day": "2024-01-01"},
        "search_content": 'a "quoted"\nword',
    }


def test_a_document_that_no_strategy_enriched_says_so() -> None:
    _, source = two_lines(live_document(decode_event(value(), LATEST), enriched(ran=False), NOW))
    assert source["_enriched"] is False


def test_no_name_stands_twice_though_the_producer_used_ours() -> None:
    own = ("event_type", "_updated_at", "_enriched", "_enriched_at", "enrichment", "search_content", "_deleted_at")
    event = decode_event(value("a", **dict.fromkeys(own, "theirs")), LATEST)
    data = live_document(event, enriched({}, "ours"), NOW)
    names = [name for name, _ in json.loads(data.split(b"\n")[1], object_pairs_hook=list)]
    assert len(names) == len(set(names))
    assert "_deleted_at" not in names
    assert b"theirs" not in data


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@tuned(max_examples=50)
@given(
    st.dictionaries(st.text().map("x".__add__), json_values, max_size=3),
    st.text(),
    st.sampled_from([None, 2]),
)
def test_a_document_is_always_exactly_two_lines_of_json(
    fields: dict[str, Any], content: str, indent: int | None
) -> None:
    content = content.encode(errors="replace").decode()
    raw = json.loads(value("a", **fields))
    data = json.dumps(raw, indent=indent, ensure_ascii=False).encode(errors="replace")
    added = enriched({"amount_absolute": Raw(b"1.50")}, content)
    document = live_document(decode_event(data, LATEST), added, NOW)
    assert document.count(b"\n") == 2
    _, source = two_lines(document)
    assert source["search_content"] == content
    assert source["enrichment"] == {"amount_absolute": Decimal("1.50")}


@pytest.mark.parametrize("amount", ["9007199254740993", "0.1000000000000000055511151231257827", "1E+2"])
def test_numbers_are_never_rounded(amount: str) -> None:
    data = value("a", amount=0).replace(b'"amount": 0', f'"amount": {amount}'.encode())
    document = live_document(decode_event(data, LATEST), enriched(), NOW)
    assert f'"amount": {amount},'.encode() in document


def test_a_tombstone_is_ids_time_and_position_and_nothing_else() -> None:
    event = decode_event(value('a"\n', 5, DELETED, user_id="ü", amount=3), LATEST, Position(7, 1, 5))
    action, source = two_lines(tombstone(event))
    assert action["index"] == {"_id": 'a"\n', "version": event.version, "version_type": "external"}
    assert source == {"id": 'a"\n', "user_id": "ü", "_deleted_at": "2024-01-01T12:00:05Z", "_position": "7:1:5"}


POSITION = Position(1_700_000_000_000, 3, 9)


def stored(event: Event) -> bytes:
    lines = tombstone(event) if event.deleted else live_document(event, enriched({"x": 1}, "text"), NOW)
    return lines.split(b"\n")[1]


@pytest.mark.parametrize("kind", [CREATED, UPDATED, DELETED])
@pytest.mark.parametrize("timestamp", ["2024-01-01T12:00:00Z", "2024-01-01T12:00:00.000000001Z"])
def test_a_document_says_the_order_of_its_event(kind: str, timestamp: str) -> None:
    event = decode_event(encoded(made("a", kind, timestamp)), LATEST, POSITION)
    assert order_of(stored(event)) == event.order


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"[]",
        b"{}",
        b'{"event_type":"transaction.created","_updated_at":"2024-01-01T12:00:00Z"}',
        b'{"event_type":"transaction.created","_updated_at":"2024-01-01T12:00:00Z","_position":"1:2"}',
        b'{"event_type":"transaction.created","_updated_at":"2024-01-01T12:00:00Z","_position":"a:b:c"}',
        b'{"event_type":"other","_updated_at":"2024-01-01T12:00:00Z","_position":"1:2:3"}',
        b'{"event_type":"transaction.created","_updated_at":"noon","_position":"1:2:3"}',
        b'{"event_type":"transaction.created","_updated_at":5,"_position":"1:2:3"}',
    ],
)
def test_what_no_event_wrote_has_no_order(source: bytes) -> None:
    assert order_of(source) is None


@pytest.mark.parametrize("kind", [CREATED, DELETED])
def test_a_document_holds_its_event_and_its_copies_and_no_other(kind: str) -> None:
    event = decode_event(value("a", 0, kind), LATEST, POSITION)
    copy = decode_event(value("a", 0, kind), LATEST)
    assert holds(stored(event), copy)
    assert not holds(stored(event), decode_event(value("a", 0, kind, user_id="other"), LATEST))
    assert not holds(stored(event), decode_event(value("a", 0, CREATED if kind == DELETED else UPDATED), LATEST))
    assert not holds(b"{", event)


def test_another_source_is_another_content() -> None:
    one, other, none = (
        decode_event(encoded({**made("a"), "source": source}), LATEST) for source in ("one", 'o"ther', None)
    )
    for event in (one, other, none):
        assert [holds(stored(event), each) for each in (one, other, none)] == [
            each is event for each in (one, other, none)
        ]
    assert json.loads(stored(other))["source"] == 'o"ther'
    assert "source" not in json.loads(stored(none))


def test_another_version_changes_nothing_else() -> None:
    lines = live_document(decode_event(value('a"'), LATEST), enriched(), NOW)
    changed = with_version(lines, 'a"', 7)
    assert changed.split(b"\n")[0] == index_line('a"', 7)
    assert changed.split(b"\n")[1:] == lines.split(b"\n")[1:]


def objects(mapping: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [found for each in mapping.get("properties", {}).values() for found in objects(each)]
    return [mapping, *inner] if "properties" in mapping else inner


def test_the_mapping_is_closed_on_every_level() -> None:
    mapping = mappings({"day": {"type": "date"}})
    assert [each["dynamic"] for each in objects(mapping)] == [False, False]
    assert mapping["properties"]["enrichment"]["properties"] == {"day": {"type": "date"}}


def test_free_form_metadata_is_one_field() -> None:
    assert mappings({})["properties"]["metadata"]["type"] == "flattened"


def test_no_string_is_too_long_for_a_term() -> None:
    limited = [each for each in mappings({})["properties"].values() if each["type"] in ("keyword", "flattened")]
    assert limited
    assert all(each["ignore_above"] * 4 <= 32_766 for each in limited)
    assert MAX_KEYWORD * 4 <= 32_766


def test_a_bad_date_does_not_refuse_a_document() -> None:
    dates = [each for each in mappings({})["properties"].values() if each["type"] == "date"]
    assert dates
    assert all(each["ignore_malformed"] for each in dates)


def test_the_index_needs_no_module_beyond_the_plain_server() -> None:
    text = json.dumps([mappings({}), settings(1, 0, "1s")])
    assert "scaled_float" not in text
    assert "script" not in text


def test_an_index_gets_the_shards_replicas_and_refresh_that_were_asked_for() -> None:
    found = settings(3, 2, "5s")
    assert (found["number_of_shards"], found["number_of_replicas"], found["refresh_interval"]) == (3, 2, "5s")
