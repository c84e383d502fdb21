"""Export and import: lines of JSON, and what is wrong with them."""

import json
from typing import Any

import pytest
from fixtures.dead_letters import letter
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.dead_letters.lines import LineError, from_line, to_line
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.restoring import MAX_REPORTED, check, identity, refuse_known
from activity_indexer.ports import header_name

CONTENT = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode(errors="replace"))
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.binary(max_size=10).map(header_name)
LETTERS = st.builds(
    StoredDeadLetter,
    st.just("d"),
    st.integers(0, 2**31),
    st.integers(0, 2**62),
    st.integers(-1, 2**62),
    CONTENT,
    CONTENT,
    st.lists(st.tuples(NAME, CONTENT), max_size=5).map(tuple),
)


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(to_line(letter())), **fields})


@given(LETTERS)
def test_nothing_is_lost_in_a_line(found: StoredDeadLetter) -> None:
    line = to_line(found)
    assert "\n" not in line
    assert from_line(line) == found
    assert from_line(line.encode()) == found
    assert [name.encode() for name, _ in from_line(line).headers] == [name.encode() for name, _ in found.headers]


def test_text_stays_readable_and_bytes_are_base64() -> None:
    reported = json.loads(to_line(letter("caf\u00e9".encode(), key=b"\xff")))
    assert (reported["value"], reported["key"]) == ("caf\u00e9", {"base64": "/w=="})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected a JSON object"),
        ("nonsense", "expected a JSON object"),
        ("[1]", "expected a JSON object, got [1]"),
        ("[" * 100_000, "expected a JSON object"),
        (changed(more=1), "got 'more' too"),
        ("{}", "got none named topic, partition"),
        (changed(topic=1), "topic: expected a string, got 1"),
        (changed(partition=-1), "partition: expected a whole number of 0 or more, got -1"),
        (changed(offset=True), "offset: expected a whole number"),
        (changed(timestamp="now"), "timestamp: expected a whole number"),
        (changed(value=7), "value: expected a string"),
        (changed(value={"base64": "*"}), "value: expected base64"),
        (changed(value={"base64": "", "x": 1}), "value: expected a string"),
        (changed(key="\ud800"), "key: expected text that can be UTF-8"),
        (changed(headers={}), "headers: expected an array"),
        (changed(headers=[["a"]]), "headers[0]: expected [name, value]"),
        (changed(headers=[["a", "b"], ["c", 1]]), "headers[1]: expected a string"),
    ],
)
def test_a_bad_line_says_what_was_expected(line: str, message: str) -> None:
    with pytest.raises(LineError) as caught:
        from_line(line)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def lines(*letters: StoredDeadLetter) -> list[bytes]:
    return [f"{to_line(each)}\n".encode() for each in letters]


def test_every_bad_line_is_reported_with_its_number() -> None:
    found = check([*lines(letter()), b"\n", b"x\n", *lines(letter(offset="5", attempts="?"))], force=False)
    assert found.letters == 2
    assert [problem.partition(":")[0] for problem in found.problems] == ["line 3", "line 4"]
    assert "dead-letter-attempts: expected a number, got '?'" in found.problems[1]


def test_of_many_bad_lines_the_first_are_reported_and_all_are_counted() -> None:
    found = check([b"x"] * 1000, force=False)
    assert (len(found.problems), found.wrong) == (MAX_REPORTED, 1000)


def test_the_same_dead_letter_twice_is_refused() -> None:
    found = check(lines(letter(), letter(place=(1, 99), key=b"other")), force=False)
    assert found.problems == ["line 2: the same dead letter as in line 1"]


def test_a_dead_letter_that_is_there_already_is_refused() -> None:
    found = check(lines(letter(), letter(offset="5")), force=False)
    refuse_known(found, [letter(offset="6"), letter(b"edited", offset="5", place=(2, 3))])
    assert found.problems == ["line 2: this dead letter is there already, at 2:3"]


def test_force_takes_all_that_has_the_right_form() -> None:
    found = check([*lines(letter(), letter(), letter(attempts="?")), b"x"], force=True)
    assert (found.letters, found.problems, found.lines) == (
        3,
        ["line 4: expected a JSON object: Expecting value: line 1 column 1 (char 0)"],
        {},
    )


def test_what_has_no_origin_is_known_by_all_that_it_holds() -> None:
    one, other = letter(b"1", topic=None), letter(b"2", topic=None)
    assert identity(one) == identity(letter(b"1", topic=None, place=(5, 5)))
    assert identity(one) != identity(other)
    assert identity(letter(b"1")) == identity(letter(b"2"))
