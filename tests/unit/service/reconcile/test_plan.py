"""What a repair may do: the limit, and the proof that an audit lacks history."""

import pytest

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.adapters.postgres.audit_reader import Extent
from activity_indexer.reconcile.compare import Difference, Kind
from activity_indexer.reconcile.plan import DEFAULT_LIMIT, Limit, Plan, make_plan

MISSING = Difference(Kind.MISSING, "missing", 1, None)
NEWER = Difference(Kind.NEWER, "newer", 1, 2)
EXTRA = Difference(Kind.EXTRA, "extra", None, 1)
OTHER = Difference(Kind.EXTRA, "other", None, 1)
READ = {0: Extent(10, 100, (range(40, 50),)), 1: Extent(0, 5)}


def document(identifier: str, position: str | None) -> Stored:
    place = f',"_position":"{position}"' if position else ""
    reported = f'{{"id":"{identifier}","event_type":"transaction.created","_updated_at":"2024-01-01T00:00:00Z"{place}}}'
    return Stored(identifier, 1, reported.encode())


@pytest.mark.parametrize(
    ("limit", "compared", "most"),
    [
        (Limit.read("500"), 10, 500),
        (Limit.read("20%"), 1000, 200),
        (Limit.read("0.5%"), 1000, 5),
        (Limit.read("0"), 1000, 0),
        (DEFAULT_LIMIT, 50, 100),
        (DEFAULT_LIMIT, 5000, 500),
    ],
)
def test_a_limit_is_a_number_or_a_share(limit: Limit, compared: int, most: int) -> None:
    assert limit.of(compared) == most


@pytest.mark.parametrize("text", ["", "many", "-1%", "5 %%", "1e3%"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Limit.read(text)


def test_only_what_the_audit_knows_better_is_written_and_only_extra_documents_are_deleted() -> None:
    stored = {"extra": document("extra", "5:0:10")}
    differences = [MISSING, NEWER, EXTRA]
    assert make_plan(differences, stored, READ, delete_extra=True) == Plan([MISSING], [EXTRA])
    assert make_plan(differences, stored, READ, delete_extra=False) == Plan([MISSING], [])


@pytest.mark.parametrize(
    ("position", "covered"),
    [
        ("5:0:10", True),
        ("5:0:99", True),
        ("5:0:9", False),
        ("5:0:100", False),
        ("5:0:45", False),
        ("5:1:4", True),
        ("5:2:0", False),
        (None, True),
        ("nonsense", True),
        ("0:-1:-1", True),
    ],
)
def test_a_document_whose_event_the_audit_never_read_proves_that_it_lacks_history(
    position: str | None, covered: bool
) -> None:
    stored = {"extra": document("extra", position), "other": document("other", "5:0:10")}
    plan = make_plan([MISSING, EXTRA, OTHER], stored, READ, delete_extra=True)
    assert plan.write == [MISSING]
    assert plan.delete == ([EXTRA, OTHER] if covered else [])
    assert ("such as extra" in (plan.lacking or "")) is not covered


def test_a_plan_above_the_limit_is_a_problem() -> None:
    plan = Plan([MISSING], [EXTRA])
    assert plan.problem(2) is None
    assert "would change 2 documents, and the limit is 1" in (plan.problem(1) or "")
