"""Where reading begins, and what counts as lost."""

import pytest

from activity_indexer.positions import RETENTION, TRUNCATION, Bounds, Commit, Ends, Loss, Partition, Start, begin

ONE = Partition("transactions", 0)
LOG = Bounds(60, 100)


@pytest.mark.parametrize(
    ("commit", "start"),
    [
        (None, Start(60)),
        (Commit(70, "x"), Start(70)),
        (Commit(60, "x"), Start(60)),
        (Commit(100, "x"), Start(100)),
        (Commit(70), Start(70)),
        (Commit(70, "another"), Start(60)),
        (Commit(500, "another"), Start(60)),
        (Commit(20, "x"), Start(60, Loss(ONE, RETENTION, 20, 40))),
        (Commit(120, "x"), Start(60, Loss(ONE, TRUNCATION, 100, 20))),
    ],
)
def test_reading_begins_at_what_is_committed_while_that_means_something(commit: Commit | None, start: Start) -> None:
    assert begin(ONE, commit, LOG, "x") == start


def test_where_the_broker_has_no_ids_offsets_alone_are_compared() -> None:
    assert begin(ONE, Commit(70, "x"), LOG, "") == Start(70)


@pytest.mark.parametrize("commit", [Commit(7, "abc"), Commit(7)])
def test_a_commit_is_read_back_as_it_was_written(commit: Commit) -> None:
    assert Commit.read(7, commit.metadata) == commit


@pytest.mark.parametrize("metadata", [None, "", "offsets of another program"])
def test_metadata_of_others_says_nothing_of_the_topic(metadata: str | None) -> None:
    assert Commit.read(7, metadata) == Commit(7)


def test_what_is_held_is_between_the_last_stable_offset_and_the_end() -> None:
    assert (Ends(9, 4).held, Ends(9, 9).held, Ends(4, 9).held) == (5, 0, 0)
