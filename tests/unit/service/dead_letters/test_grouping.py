"""Groups of dead letters, and what usually helps against them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.dead_letters import letter
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import activity_indexer
from activity_indexer.dead_letters.advice import ADVICE, BY_STAGE, HTTP, advice
from activity_indexer.dead_letters.grouping import BY, Groups
from activity_indexer.dead_letters.reasons import field_of

STAGES = {
    "DecodeError": "decode",
    "ValidationError": "validate",
    "EnrichmentError": "enrich",
    "DocumentError": "index",
    "ItemError": "index",
}
SOURCES = Path(activity_indexer.__file__).parent
PARTS = ("", "pipeline/", "enrichment/", "adapters/kafka/records/")


def emitted() -> Iterator[tuple[str, str]]:
    """Stage and error of every class that is named where the service raises one."""
    for path in [path for part in PARTS for path in SOURCES.glob(f"{part}*.py")]:
        tree = ast.parse(path.read_text())
        named = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in STAGES and node.args:
                first = node.args[0]
                words = named.get(first.id, first) if isinstance(first, ast.Name) else first
                if not isinstance(words, ast.JoinedStr):
                    yield from ((STAGES[node.func.id], word) for word in _words(words))


def _words(node: ast.expr) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and re.fullmatch(r"[a-z0-9_]+", str(each.value)):
            yield str(each.value)


@pytest.fixture(scope="module")
def errors() -> set[tuple[str, str]]:
    return set(emitted())


def test_every_error_that_the_service_can_emit_has_its_own_advice(errors: set[tuple[str, str]]) -> None:
    assert len(errors) > 15
    assert {(stage, error) for stage, error in errors if error not in ADVICE.get(stage, {})} == set()


def test_no_advice_is_for_an_error_that_is_never_raised(errors: set[tuple[str, str]]) -> None:
    own = {(stage, error) for stage in ("decode", "validate", "enrich") for error in ADVICE[stage]}
    assert own - errors == set()


def test_other_words_are_advised_by_their_stage() -> None:
    assert advice("index", "brand_new_exception") == BY_STAGE["index"]
    assert advice("index", "http_500") == HTTP
    assert advice("decode", "brand_new") == BY_STAGE["decode"]
    assert "No indexer wrote" in advice("elsewhere", "what")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Object missing required field `user_id`", "user_id"),
        ("Expected `str`, got `int` - at `$.user_id`", "user_id"),
        ('amount: expected a number, got "1"', "amount"),
        ("_id, _version: Elasticsearch keeps this name for itself; rename the field", "_id, _version"),
        ("expected event_type transaction.created, got 'x'", "event_type"),
        (
            "[1:40] failed to parse field [metadata.a] of type [double] in document with id 'W'. Preview: 'a: b'",
            "metadata.a",
        ),
        ("[1:7] failed to parse: [1:15] Duplicate field 'id'\n at [Source]", "id"),
        ("strategy card: KeyError: 'x'", "card"),
        ("Input data was truncated", ""),
        ("", ""),
    ],
)
def test_an_error_names_its_field(message: str, field: str) -> None:
    assert field_of(message) == field


def test_causes_are_counted_with_first_and_last_time_and_the_newest_example() -> None:
    groups = Groups()
    groups.add(letter(place=(1, 1), last_failure="2024-05-02T00:00:00Z"))
    groups.add(letter(place=(0, 5), last_failure="2024-05-01T00:00:00Z"))
    groups.add(letter(stage="decode", error="invalid_json", message="Input data was truncated"))
    first, second = groups.as_json(5)["groups"]
    assert first == {
        "stage": "validate",
        "error": "missing_field",
        "field": "user_id",
        "count": 2,
        "first": "2024-05-01T00:00:00Z",
        "last": "2024-05-02T00:00:00Z",
        "example": "1:1",
        "advice": ADVICE["validate"]["missing_field"],
    }
    assert (second["error"], second["field"], second["count"]) == ("invalid_json", "", 1)


def test_what_is_not_shown_is_counted() -> None:
    groups = Groups("partition")
    for partition in (0, 0, 0, 1, 1, 2):
        groups.add(letter(place=(partition, 0)))
    assert [group.key for group in groups.largest(1)] == [("0",)]
    assert groups.as_json(1)["others"] == {"groups": 2, "count": 3}


@given(st.lists(st.integers(0, 40), max_size=200))
def test_memory_is_bounded_and_no_dead_letter_is_lost_from_the_count(partitions: list[int]) -> None:
    groups = Groups("partition", limit=5)
    example = letter()
    for partition in partitions:
        groups.add(replace(example, partition=partition))
        assert len(groups.largest()) < 10
    shown = sum(group.count for group in groups.largest(3))
    assert groups.total == len(partitions) == shown + groups.beyond(3)[1]


def test_a_large_group_outlives_any_number_of_small_ones() -> None:
    groups = Groups("partition", limit=5)
    for number in range(1000):
        groups.add(letter(place=(0, 0)))
        groups.add(letter(place=(number + 1, 0)))
    assert (groups.largest(1)[0].key, groups.largest(1)[0].count) == (("0",), 1000)


@pytest.mark.parametrize("by", BY)
def test_every_grouping_takes_every_record(by: str) -> None:
    groups = Groups(by)
    groups.add(letter())
    groups.add(replace(letter(), headers=(), value=None, key=None))
    assert groups.total == 2


def test_days_are_in_order() -> None:
    groups = Groups("day")
    for day in ("02", "01", "02"):
        groups.add(letter(last_failure=f"2024-05-{day}T23:59:59Z"))
    assert [(group.key, group.count) for group in groups.largest()] == [(("2024-05-01",), 1), (("2024-05-02",), 2)]
