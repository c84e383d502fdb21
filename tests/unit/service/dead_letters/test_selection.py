"""Which dead letters are meant, and what of a topic must be read for it."""

import time
from typing import Any

import click
import pytest
from click.testing import CliRunner
from fixtures.dead_letters import letter
from fixtures.events import event
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.cli.selection import Moment, selection_options
from activity_indexer.dead_letters.selection import Offsets, Selection
from activity_indexer.dead_letters.spans import Span, narrowed
from activity_indexer.positions import Partition
from activity_indexer.timestamps import parse_timestamp

FAILED = parse_timestamp("2024-05-01T12:00:01Z")
OFFSETS = st.builds(
    lambda partition, first, more: Offsets(partition, first, None if more is None else first + more),
    st.integers(0, 3),
    st.integers(0, 30),
    st.none() | st.integers(0, 30),
)
PLACES = st.builds(
    lambda partitions, offsets: Selection(partitions=partitions, offsets=tuple(offsets)),
    st.frozensets(st.integers(0, 3), max_size=2),
    st.lists(OFFSETS, max_size=3),
)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(stages=frozenset({"decode", "validate"})),
        Selection(errors=frozenset({"missing_field"})),
        Selection(event_types=frozenset({"transaction.created"})),
        Selection(users=frozenset({"user_1"})),
        Selection(transactions=frozenset({"t-1"})),
        Selection(since=FAILED),
        Selection(until=FAILED + 1),
        Selection(partitions=frozenset({0})),
        Selection(offsets=(Offsets(1, 0, None), Offsets(0, 7, 7))),
        Selection(partitions=frozenset({3}), offsets=(Offsets(0, 0, 10),)),
    ],
)
def test_a_dead_letter_fits(selection: Selection) -> None:
    assert selection.matches(letter())


@pytest.mark.parametrize(
    "selection",
    [
        Selection(stages=frozenset({"index"})),
        Selection(errors=frozenset({"missing_field"}), stages=frozenset({"decode"})),
        Selection(event_types=frozenset({"transaction.deleted"})),
        Selection(users=frozenset({"user_2"})),
        Selection(transactions=frozenset({"t"})),
        Selection(since=FAILED + 1),
        Selection(until=FAILED),
        Selection(partitions=frozenset({1})),
        Selection(offsets=(Offsets(0, 0, 6), Offsets(0, 8, None))),
    ],
)
def test_a_dead_letter_does_not_fit(selection: Selection) -> None:
    assert not selection.matches(letter())


def test_a_user_is_found_by_the_key_when_the_payload_is_damaged() -> None:
    assert Selection(users=frozenset({"user_1"})).matches(letter(b"\xff"))
    assert not Selection(users=frozenset({"user_1"})).matches(letter(event(user_id="other")))


@given(PLACES, st.integers(0, 4), st.integers(0, 70))
def test_what_is_not_read_could_not_have_matched(selection: Selection, partition: int, offset: int) -> None:
    place = Partition("d", partition)
    found = narrowed({place: Span(0, 64)}, selection).get(place)
    read = found is not None and found.start <= offset < found.end
    if selection.covers(partition, offset) and offset < 64:
        assert read
    assert found is None or 0 <= found.start <= found.end <= 64


def test_a_span_is_as_narrow_as_the_offsets_that_are_meant() -> None:
    spans = {Partition("d", 0): Span(5, 100), Partition("d", 1): Span(0, 50)}
    assert narrowed(spans, Selection(offsets=(Offsets(0, 10, 20), Offsets(0, 40, 45)))) == {
        Partition("d", 0): Span(10, 46)
    }
    assert narrowed(spans, Selection(offsets=(Offsets(0, 1, 2),)))[Partition("d", 0)].length == 0


def test_the_fingerprint_is_of_the_meaning() -> None:
    one = Selection(users=frozenset({"a", "b"}), offsets=(Offsets(1, 0, None), Offsets(0, 1, 2)), since=5)
    same = Selection(users=frozenset({"b", "a"}), offsets=(Offsets(0, 1, 2), Offsets(1, 0, None)), since=5)
    assert one.fingerprint == same.fingerprint
    assert len({Selection(since=1).fingerprint, Selection(until=1).fingerprint, Selection().fingerprint}) == 3
    assert Selection().fingerprint == Selection().fingerprint


def test_a_selection_says_what_it_means() -> None:
    assert str(Selection()) == "all"
    assert str(Selection(stages=frozenset({"index"}), offsets=(Offsets(0, 1, 1),))) == "stages index; offsets 0:1"


@pytest.mark.parametrize(
    ("text", "offsets"),
    [("0:10-200", Offsets(0, 10, 200)), ("3:10-", Offsets(3, 10, None)), ("3:10", Offsets(3, 10, 10))],
)
def test_offsets_are_written_as_they_are_read(text: str, offsets: Offsets) -> None:
    assert Offsets.parse(text) == offsets
    assert str(offsets) == text


@pytest.mark.parametrize("text", ["", "0", "0:", "0:2-1", "a:1", "0:1-2-3", "-1:0", "0:" + "9" * 19, "0:1--2"])
def test_anything_else_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Offsets.parse(text)


def chosen(*arguments: str) -> Any:
    found: list[Selection] = []

    @click.command()
    @selection_options
    def command(selection: Selection) -> None:
        found.append(selection)

    result = CliRunner().invoke(command, arguments)
    return found[0] if found else result


def test_options_make_the_selection() -> None:
    assert chosen() == Selection()
    assert chosen(
        *("--stage", "index", "--stage", "enrich", "--error", "e", "--event-type", "t", "--user", "u"),
        *("--transaction", "x", "--since", "2024-05-01T12:00:01Z", "--partition", "1", "--offsets", "0:1-2"),
    ) == Selection(
        stages=frozenset({"index", "enrich"}),
        errors=frozenset({"e"}),
        event_types=frozenset({"t"}),
        users=frozenset({"u"}),
        transactions=frozenset({"x"}),
        since=FAILED,
        partitions=frozenset({1}),
        offsets=(Offsets(0, 1, 2),),
    )


@pytest.mark.parametrize(
    "arguments", [("--stage", "dedup"), ("--since", "soon"), ("--offsets", "7"), ("--since", "2024-13-01")]
)
def test_a_wrong_option_is_refused(arguments: tuple[str, str]) -> None:
    assert chosen(*arguments).exit_code == 2


@pytest.mark.parametrize("text", ["2h ago", "2h", "120m ago"])
def test_a_time_may_be_how_long_ago(text: str) -> None:
    found = Moment().convert(text, None, None)
    assert abs(time.time() - 7200 - found / 1e6) < 60
