"""One replay from its plan to its report."""

import asyncio
import json
from dataclasses import replace

import pytest
from fixtures.events import encoded, event
from fixtures.memory.replay import MemoryDocuments, MemoryLog
from fixtures.records import Reported
from fixtures.servers.replays import MISSING

from activity_common.replay_result import MAX_RESULT, Counters, Report
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Progress
from activity_indexer.errors import DocumentError
from activity_indexer.event import CREATED, event_version
from activity_indexer.positions import Partition
from activity_indexer.replay.correction import parse_correction
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.plan import Plan
from activity_indexer.replay.ports import ReplayRefused
from activity_indexer.replay.report import Result
from activity_indexer.replay.session import Outside, Session

pytestmark = pytest.mark.simulated_time

OPTIONS = ReplayOptions(
    replay_id="r",
    indexer_group="g",
    events_topic="t",
    dead_letter_topic="t.dlq",
    parked_topic="t.dlq.parked",
    wait=False,
    wait_timeout=0.05,
)
VERSION = event_version(CREATED, 1_704_110_400_000_000_000)


class Person:
    """session.View of a user who agrees to everything, unless it is asked not to."""

    def __init__(self, agrees: bool = True, writes: bytes | None = None) -> None:
        self.agrees, self.writes = agrees, writes
        self.plans: list[Plan] = []
        self.saw: list[bytes | None] = []

    def searching(self, what: str, progress: Progress) -> None: ...
    def sending(self, counters: Counters, passed: int, total: int) -> None: ...
    def waiting(self, left: int) -> None: ...
    async def planned(self, plan: Plan) -> bool:
        self.plans.append(plan)
        return self.agrees

    async def edited(self, value: bytes | None) -> bytes | None:
        self.saw.append(value)
        return self.writes


def bury(log: MemoryLog, *values: object) -> None:
    for at, value in enumerate(values):
        record = Reported(encoded(value), key=b"k", offset=at, topic="t")
        log.put("t.dlq", at % log.partitions, dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)))


async def run(
    log: MemoryLog,
    options: ReplayOptions = OPTIONS,
    person: Person | None = None,
    documents: MemoryDocuments | None = None,
) -> Result:
    outside = Outside(log, documents or MemoryDocuments(), log, lambda: log.writing(options.group))
    return await Session(options, outside, person or Person(), asyncio.Event()).run()


async def test_a_dry_run_plans_and_leaves_no_trace() -> None:
    log, person = MemoryLog(), Person()
    bury(log, event("a"), event("b"), "x")
    result = await run(log, options=replace(OPTIONS, dry_run=True), person=person)
    assert (result.outcome, person.plans[0].counters.sent) == ("done", 3)
    assert result.counters == Counters(read=3)
    assert (log.commits, log.all("t")) == (0, [])


async def test_nothing_to_do_is_reported() -> None:
    assert (await run(MemoryLog())).outcome == "nothing"


async def test_nothing_is_sent_against_somebodys_will() -> None:
    log = MemoryLog()
    bury(log, event("a"))
    assert (await run(log, person=Person(agrees=False))).outcome == "refused"
    assert not log.all("t")


async def test_a_correction_that_leaves_some_invalid_sends_nothing_or_the_others() -> None:
    log = MemoryLog()
    bury(log, event("a"), "x")
    fix = replace(OPTIONS, correction=parse_correction(b'{"transaction": {"currency": "EUR"}}'))
    with pytest.raises(ReplayRefused, match=r"1 would stay invalid(.|\n)*1:0 invalid after the correction"):
        await run(log, fix)
    assert not log.all("t")
    result = await run(log, replace(fix, skip_invalid=True))
    assert result.counters == Counters(read=2, sent=1, refused=1)


async def test_a_single_one_can_be_written_again() -> None:
    log = MemoryLog()
    bury(log, "x", "y")
    edit = replace(OPTIONS, edit=True)
    person = Person(writes=encoded(event("new")))
    with pytest.raises(ReplayRefused, match="2 match"):
        await run(log, options=edit, person=person)
    one = replace(edit, selection=Selection(partitions=frozenset({1})))
    with pytest.raises(ReplayRefused, match="nothing was changed"):
        await run(log, one, Person())
    assert (await run(log, one, person)).outcome == "done"
    assert person.saw == [b'"y"']
    assert [letter.value for letter in log.all("t")] == [encoded(event("new"))]


async def test_what_came_back_counts_and_not_what_it_was_before() -> None:
    """Else every replay would double what never passes."""
    log = MemoryLog()
    bury(log, "poison")
    for number in (1, 2, 3):
        wanted = replace(OPTIONS, replay_id=f"r{number}")
        assert (await run(log, wanted)).counters.sent == 1
        (sent,) = [letter for letter in log.all("t") if letter.replay_id == wanted.replay_id]
        record = Reported(sent.value, key=sent.key, offset=sent.offset, topic="t", headers=list(sent.headers))
        log.put("t.dlq", 0, dead_letter(record, Failure(DocumentError("no", "no"), 1, 1.0, 1.0)), 1_704_110_500_000)
    parked = await run(log, replace(OPTIONS, replay_id="r4"))
    assert parked.counters is not None
    assert (parked.counters.sent, parked.counters.parked, len(log.all("t.dlq.parked"))) == (0, 1, 1)
    assert (await run(log, replace(OPTIONS, replay_id="r5"))).outcome == "nothing"
    again = await run(log, replace(OPTIONS, replay_id="r6", include_parked=True))
    assert again.counters is not None
    assert again.counters.sent == 1


async def test_a_report_reports_every_event_what_became_of_it() -> None:
    log = MemoryLog()
    bury(log, event("indexed"), event("stale"), event("back"), event("lost"))
    documents = MemoryDocuments()
    options = replace(OPTIONS, wait=True)

    class Indexer(Person):
        """Does what an indexer does, when it is waited for."""

        def waiting(self, left: int) -> None:
            sent = {json.loads(letter.value or b"")["transaction"]["id"]: letter for letter in log.all("t")}
            documents.there = {"indexed": VERSION, "stale": VERSION + 4096}
            back = sent["back"]
            record = Reported(
                back.value,
                key=b"k",
                partition=back.partition,
                offset=back.offset,
                topic="t",
                headers=list(back.headers),
            )
            if left:
                log.put("t.dlq", 0, dead_letter(record, Failure(DocumentError("mapper", "no"), 1, 1.0, 1.0)))
            log.groups["g"] = {Partition("t", 0): (99, ""), Partition("t", 1): (99, "")}

    result = await run(log, options=options, person=Indexer(), documents=documents)
    assert result.report == Report(indexed=1, stale=1, dead_lettered=1, unknown=1, errors=result.report.errors)  # type: ignore[union-attr]
    assert result.report.errors == {"mapper": 1}  # type: ignore[union-attr]


async def test_a_group_that_does_not_move_is_not_waited_for_for_ever() -> None:
    log = MemoryLog()
    bury(log, event("a"))
    result = await run(log, options=replace(OPTIONS, wait=True))
    assert result.outcome == "done"
    assert "is an indexer running?" in result.message
    assert result.report == Report(unknown=1)


def test_a_result_fits_into_a_termination_message() -> None:
    plan = Plan(0)
    plan.causes.update({("index", f"some_long_exception_{number}"): number for number in range(500)})
    report = Report()
    report.errors.update({f"another_long_exception_{number}": number for number in range(100)})
    result = Result("done", "r" * 150, "m" * 5000, plan=plan, counters=Counters(), report=report)
    reported = result.as_json()
    assert len(json.dumps(reported)) <= MAX_RESULT
    assert reported["causes"][0]["matched"] == 499
