"""Where in its payload an error is, and the payload with the place marked."""

import json
from typing import Any

import pytest
from fixtures.dead_letters import letter
from fixtures.events import encoded, event
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.dead_letters.json_tree import Node, parse, repeated_key, resolve, shown
from activity_indexer.dead_letters.location import Location, locate
from activity_indexer.dead_letters.payload_text import payload_lines, printable
from activity_indexer.errors import EventError
from activity_indexer.pipeline.decode import decode_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def failed(value: bytes) -> Location | None:
    """Where the indexer's own error about this payload is."""
    with pytest.raises(EventError) as caught:
        decode_event(value, 2**62)
    error = caught.value
    return locate(letter(value, stage=error.stage, error=error.code, message=error.message))


def refused(value: bytes, reason: str) -> Location | None:
    return locate(letter(value, stage="index", error="document_parsing_exception", message=reason))


def value_of(node: Node) -> Any:
    """What a decoder makes of a tree."""
    if node.kind == "object":
        return {key: value_of(child) for key, _, child in node.members}
    if node.kind == "array":
        return [value_of(child) for _, _, child in node.members]
    return node.text if node.kind == "string" else json.loads(node.text)


@given(JSON, st.sampled_from([None, 0, 3]))
def test_the_tree_is_what_a_decoder_reads(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert value_of(parse(text)) == value


@given(st.text(max_size=30))
def test_what_is_no_json_has_no_tree(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
            parse(text)


def test_a_key_that_comes_twice_is_found_at_any_depth() -> None:
    text = '{"a": {"k": 1}, "b": [{"k": 1}, {"k": 1, "k": 2}]}'
    found = repeated_key(parse(text))
    assert found is not None
    assert (shown(found[0]), text[found[1] :]) == ("$.b[1].k", '"k": 2}]}')
    assert repeated_key(parse('{"a": 1, "b": {"a": 1}}')) is None


def test_paths_are_written_so_that_they_can_be_read() -> None:
    assert shown(("a", 'b "c"', 0)) == '$.a["b \\"c\\""][0]'
    tree = parse('{"a": [7]}')
    found = resolve(tree, ("a", 0))
    assert found is not None
    assert found[1].text == "7"
    assert resolve(tree, ("a", 1, "x")) is None


@pytest.mark.parametrize(
    ("value", "line", "column"),
    [
        (b'{"a": 1,\n  "b": NaN}', 2, 8),
        ('{"\u00e9": "\u00fc", x}'.encode(), 1, 12),
        (b'{"a": "\xff"}', 1, 8),
        (b'{"event_type": ', 1, 16),
    ],
)
def test_what_is_no_json_is_wrong_at_a_line_and_column(value: bytes, line: int, column: int) -> None:
    found = failed(value)
    assert found is not None
    assert (found.line, found.column) == (line, column)


@pytest.mark.parametrize(
    ("changes", "path", "text"),
    [
        ({"user_id": 7}, "$.transaction.user_id", '"user_id"'),
        ({"amount": "1"}, "$.transaction.amount", '"amount"'),
        ({"created_at": "x"}, "$.transaction.created_at", '"created_at"'),
        ({"metadata": [1]}, "$.transaction.metadata", '"metadata"'),
        ({"_id": 1}, "$.transaction._id", '"_id"'),
    ],
)
def test_what_is_no_event_is_wrong_at_a_field(changes: dict[str, Any], path: str, text: str) -> None:
    value = encoded(event("t", **changes))
    found = failed(value)
    assert found is not None
    assert found.byte is not None
    assert (found.path, value[found.byte : found.byte + len(text)].decode()) == (path, text)


def test_a_missing_field_is_reported_by_its_path() -> None:
    whole = event("t")
    del whole["transaction"]["currency"]
    assert failed(encoded(whole)) == Location("$.transaction.currency", note="it is not there")
    del whole["timestamp"]
    assert failed(encoded(whole)) == Location("$.timestamp", note="it is not there")


@pytest.mark.parametrize(("value", "path"), [({**event("t"), "transaction": []}, "$.transaction"), ([1], "$")])
def test_a_value_of_a_wrong_kind_is_found(value: Any, path: str) -> None:
    found = failed(encoded(value))
    assert found is not None
    assert found.path == path


def test_what_elasticsearch_refuses_is_found_in_the_payload() -> None:
    value = encoded(event("t", metadata={"a.b": {"c": "x"}}))
    found = refused(value, "[1:9] failed to parse field [metadata.a.b.c] of type [long] in document with id 't'.")
    assert found is not None
    assert found.path == '$.transaction.metadata["a.b"].c'


@pytest.mark.parametrize(
    "reason", ["[1:9] failed to parse field [metadata] of type [flattened]", "[1:9] Duplicate field 'k'"]
)
def test_the_second_of_two_equal_keys_is_marked(reason: str) -> None:
    value = encoded(event("t", metadata={})).replace(b'"metadata": {}', b'"metadata": {"k": 1, "k": 2}')
    found = refused(value, reason)
    assert found is not None
    assert found.byte == value.rindex(b'"k"')
    assert (found.path, found.note) == ("$.transaction.metadata.k", "the same key appears here a second time")
    assert [str(line).strip() for line in payload_lines(value, found) if line.marked] == ['"k": 2']


def test_metadata_that_is_nested_too_deep_is_found_where_it_becomes_so() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(25):
        deep = {"d": deep}
    found = refused(encoded(event("t", metadata=deep)), "failed to parse field [metadata] of type [flattened]")
    assert found is not None
    assert found.path == "$.transaction.metadata" + ".d" * 20
    assert "20 levels" in found.note


def test_a_term_that_is_too_long_is_found() -> None:
    value = encoded(event("t", metadata={"short": 1, "n": "y" * 40_000}))
    found = refused(value, "failed to parse field [metadata] of type [flattened]")
    assert found is not None
    assert (found.path, "32,766" in found.note) == ("$.transaction.metadata.n", True)


@given(
    st.binary(max_size=80), st.sampled_from(["decode", "validate", "enrich", "index", "unknown"]), st.text(max_size=40)
)
def test_no_payload_and_no_message_makes_it_fail(value: bytes, stage: str, message: str) -> None:
    record = letter(value, stage=stage, message=message.encode(errors="replace").decode())
    payload_lines(value, locate(record))
    payload_lines(value, locate(record), fold=False)


@given(JSON)
def test_without_folding_the_payload_is_all_there(value: Any) -> None:
    lines = payload_lines(json.dumps(value).encode(), None, fold=False)
    assert json.loads("\n".join(map(str, lines))) == value


def test_long_values_are_folded_with_their_length() -> None:
    text = "\n".join(map(str, payload_lines(encoded({"s": "x" * 5000, "a": list(range(300))}), None)))
    assert "… 5,000 characters" in text
    assert "… 200 more of 300" in text
    assert len(text) < 3000


def test_numbers_stay_as_they_came() -> None:
    assert '"n": 1.10e+400' in "\n".join(map(str, payload_lines(b'{"n": 1.10e+400}', None)))


def test_text_that_is_no_json_has_a_caret_under_the_error() -> None:
    value = b'{"a": 1,\n  "b": NaN}'
    lines = [str(line) for line in payload_lines(value, failed(value))]
    assert lines[1].index("NaN") == lines[2].index("^")


def test_of_a_long_line_the_part_around_the_error_is_shown() -> None:
    value = b'{"s": "' + b"x" * 5000 + b'", y}'
    first, caret = (str(line) for line in payload_lines(value, failed(value)))
    assert len(first) < 400
    assert first[caret.index("^")] == "y"


def test_bytes_that_are_no_text_are_dumped_around_the_error() -> None:
    value = b"a" * 5000 + b"\xff" + b"b" * 5000
    lines = payload_lines(value, failed(value))
    assert len(lines) < 45
    (marked,) = (str(line) for line in lines if line.marked)
    assert marked.startswith("00001380  61 61 61 61 61 61 61 61 ff 62")


def test_nothing_that_moves_the_cursor_reaches_the_terminal() -> None:
    assert printable("a\x1b[2Jb\u202e\x7f\U0001f600\U000e0001") == "a\\u001b[2Jb\\u202e\\u007f\U0001f600\\udb40\\udc01"
    shown_text = "\n".join(map(str, payload_lines(b'{"a": "\\u001b[2J\xc2\x9b"}', None)))
    assert "\x1b" not in shown_text
    assert "\x9b" not in shown_text
