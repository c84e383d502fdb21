"""What the replay command writes, the operator reads."""

import json

from activity_common.replay_result import Counters, Report
from activity_indexer.replay.report import Result
from activity_indexer_operator.jobs.view import Ended
from activity_indexer_operator.replay.command import parse_result

COUNTERS = Counters(read=7, sent=3, skipped=1, parked=1, stale=1, refused=1)
REPORT = Report(indexed=2, dead_lettered=1, errors={"missing_field": 1})


def test_the_operator_reads_the_result_that_the_command_writes() -> None:
    written = Result("done", "fix-1", "all is well", counters=COUNTERS, report=REPORT).as_json()
    found = parse_result(Ended(0, "Completed", json.dumps(written)))
    assert found is not None
    assert (found.outcome, found.replay, found.message, found.matched) == ("done", "fix-1", "all is well", 6)
    assert (found.counters, found.report) == (COUNTERS, REPORT)


def test_an_outcome_of_a_later_release_is_read() -> None:
    found = parse_result(Ended(0, "Completed", '{"kind":"result","outcome":"postponed","delayed":3}'))
    assert found is not None
    assert found.outcome == "postponed"


def test_counters_are_added_and_subtracted() -> None:
    assert COUNTERS + COUNTERS - COUNTERS == COUNTERS
    assert (COUNTERS - COUNTERS).matched == 0
