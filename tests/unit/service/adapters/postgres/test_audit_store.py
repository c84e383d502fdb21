"""The arguments of the audit's statement: columns that can be taken apart again, and each transaction's last event."""

from collections.abc import Iterable

import pytest
from fixtures.audit import KINDS, audit_event
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.adapters.postgres import audit_store as postgres
from activity_indexer.adapters.postgres.audit_store import MARKS, _joined, _passed
from activity_indexer.errors import AuditRejected

TEXTS = st.text(st.sampled_from(["a", "é", *MARKS[0], *MARKS[1]]), max_size=3)
columns = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(st.none() | TEXTS, min_size=size, max_size=size), min_size=1, max_size=3)
)


def parted(text: str, cut: str, nothing: str) -> list[str | None]:
    """As audit_split does it."""
    return [None if each == nothing else each for each in text.split(cut)]


@given(columns)
def test_joined_columns_are_those_that_were_joined(given_columns: list[list[str | None]]) -> None:
    cut, nothing, *texts = _joined(given_columns)
    assert cut is not None
    assert nothing is not None
    assert [parted(text or "", cut, nothing) for text in texts] == given_columns


def test_nul_is_replaced_for_postgresql_has_none() -> None:
    assert _joined([["a\0b", "\0"]])[2] == f"a\ufffdb{MARKS[0][0]}\ufffd"


def test_no_events_are_no_columns() -> None:
    assert _joined([[], []]) == [None] * 4


def test_events_with_many_marks_cost_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Mark(str):
        __slots__ = ()

        def join(self, values: Iterable[str], /) -> str:
            tried.append(self)
            return super().join(values)

    monkeypatch.setattr(postgres, "MARKS", [(Mark(cut), nothing) for cut, nothing in MARKS])
    cut, *_ = _joined([["".join(cut for cut, _ in MARKS[:-1]), "a"]])
    assert cut == MARKS[-1][0]
    assert tried == [MARKS[0][0], MARKS[-1][0]]


def test_events_with_every_mark_are_refused_as_others_that_the_database_does_not_take() -> None:
    with pytest.raises(AuditRejected):
        _joined([["".join(cut for cut, _ in MARKS), "a"]])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from(KINDS), st.integers(0, 3))))
def test_of_each_transaction_all_events_but_the_last_are_passed(
    chosen: list[tuple[str, int, str, int]],
) -> None:
    events = [audit_event(*each).event for each in chosen]
    passed = _passed(events)
    assert len(set(passed)) == len(passed)
    left = [event for place, event in enumerate(events, 1) if place not in passed]
    last = {event.transaction.id: event for event in sorted(events, key=lambda event: event.order)}
    assert {event.transaction.id: event.order for event in left} == {key: each.order for key, each in last.items()}
    assert len(left) == len(last)
