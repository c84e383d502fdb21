"""Answers are believed only while the index is the expected one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from fixtures.emitted import Emitted

from activity_indexer import index_watch
from activity_indexer.errors import ActivityIndexerError, Refused, Unavailable, UnexpectedIndex
from activity_indexer.facts import Severity
from activity_indexer.index_watch import IndexWatch, Standing
from activity_indexer.ports import BulkReply
from activity_indexer.reports import INDEX, ProblemChanged

pytestmark = pytest.mark.simulated_time

WRITTEN = BulkReply(200, b'{"errors":false,"items":[{"index":{"_index":"t-1","status":201}}]}')
ELSEWHERE = BulkReply(200, WRITTEN.body.replace(b"t-1", b"t-2"))
REFUSED = BulkReply(
    200, b'{"errors":true,"items":[{"index":{"_index":"t-1","status":400,"error":{"type":"x","reason":"y"}}}]}'
)
CONFLICT = BulkReply(200, REFUSED.body.replace(b"400", b"409"))
PUSHED_BACK = BulkReply(200, REFUSED.body.replace(b"400", b"429"))
NOT_THERE = BulkReply(200, REFUSED.body.replace(b"400", b"404").replace(b'"t-1"', b'"t"'))
ODD = UnexpectedIndex("rolled over")


async def _passes() -> None:
    return None


@dataclass
class Index:
    """An index behind an alias; `problem` is what a check finds."""

    identity: str = "one"
    has_history: bool = True
    written: str = "t-1"
    problem: ActivityIndexerError | None = None
    answers: list[BulkReply] = field(default_factory=list)
    before_check: Callable[[], Awaitable[None]] = _passes
    checks: int = 0
    requests: int = 0

    async def bulk(self, body: bytes) -> BulkReply:
        self.requests += 1
        return self.answers.pop(0) if self.answers else WRITTEN

    async def prepare(self) -> None:
        await self.check()

    async def check(self) -> None:
        self.checks += 1
        await self.before_check()
        if self.problem:
            raise self.problem


@dataclass
class Subject:
    index: Index = field(default_factory=Index)
    emitted: Emitted = field(default_factory=Emitted)

    def __post_init__(self) -> None:
        self.watch = IndexWatch(self.index, self.index, "t", self.emitted, asyncio.get_running_loop().time)

    async def ready(self) -> "Subject":
        await self.watch.prepare()
        self.index.checks = 0
        return self

    def checked(self) -> str | None:
        """What was wrong with the index at the last check."""
        return [each.problem for each in self.emitted.of(ProblemChanged) if each.code == INDEX][-1]


async def test_an_answer_of_the_expected_index_costs_no_check() -> None:
    subject = await Subject().ready()
    for answer in (WRITTEN, CONFLICT, PUSHED_BACK, BulkReply(503, b""), BulkReply(200, b'{"errors":false}')):
        subject.index.answers = [answer]
        assert await subject.watch.bulk(b"") == answer
    assert subject.index.checks == 0


@pytest.mark.parametrize("answer", [REFUSED, NOT_THERE, BulkReply(400, b"{}")])
async def test_a_refusal_is_believed_when_the_index_is_still_the_expected_one(answer: BulkReply) -> None:
    subject = await Subject(Index(answers=[answer])).ready()
    assert await subject.watch.bulk(b"") == answer
    assert subject.index.checks == 1


@pytest.mark.parametrize("answer", [REFUSED, ELSEWHERE])
async def test_an_answer_of_an_unexpected_index_is_not_believed_and_the_request_is_sent_again(
    answer: BulkReply,
) -> None:
    subject = await Subject(Index(answers=[answer])).ready()
    subject.index.problem = ODD
    sending = asyncio.create_task(subject.watch.bulk(b""))
    await asyncio.sleep(0.01)
    assert not sending.done()
    assert subject.index.requests == 1, "nothing more is sent to it"
    assert not subject.watch.as_expected
    assert subject.watch.namespace == "", "and no id is known of it"
    assert subject.checked() == "rolled over"
    subject.index.problem = None
    await subject.watch.check()
    assert await sending == WRITTEN
    assert subject.checked() is None


async def test_an_answer_of_an_index_that_took_the_others_place_is_believed() -> None:
    subject = await Subject(Index(answers=[ELSEWHERE])).ready()
    subject.index.identity, subject.index.written = "two", "t-2"
    assert await subject.watch.bulk(b"") == ELSEWHERE


async def test_an_answer_from_elsewhere_is_not_believed_though_all_is_well_again() -> None:
    subject = await Subject(Index(answers=[ELSEWHERE])).ready()
    assert await subject.watch.bulk(b"") == WRITTEN
    assert subject.index.requests == 2


async def test_an_odd_answer_that_cannot_be_checked_is_no_answer() -> None:
    subject = await Subject(Index(answers=[REFUSED])).ready()
    subject.index.problem = Unavailable("silent")
    with pytest.raises(Unavailable, match="silent"):
        await subject.watch.bulk(b"")
    assert subject.watch.as_expected


async def test_a_check_that_is_refused_stops_requests_and_casts_no_doubt_on_what_was_written() -> None:
    subject = await Subject(Index(answers=[REFUSED])).ready()
    subject.index.problem = Refused("no right")
    sending = asyncio.create_task(subject.watch.bulk(b""))
    await asyncio.sleep(0.01)
    assert not sending.done()
    assert subject.checked() == "no right"
    assert await subject.watch.confirm() is Standing.SAFE
    subject.index.problem = None
    assert await subject.watch.confirm() is Standing.SAFE
    assert await sending == WRITTEN


async def test_callers_share_a_check_that_began_after_their_calls() -> None:
    subject = await Subject().ready()
    opened = asyncio.Event()

    async def wait() -> None:
        await opened.wait()

    subject.index.before_check = wait
    first = asyncio.create_task(subject.watch.check())
    await asyncio.sleep(0)
    others = [asyncio.create_task(subject.watch.check()) for _ in range(5)]
    await asyncio.sleep(0)
    opened.set()
    await asyncio.gather(first, *others)
    assert subject.index.checks == 2


async def test_what_was_settled_is_safe_when_the_index_is_the_same() -> None:
    subject = await Subject().ready()
    subject.watch.rely()
    assert await subject.watch.confirm() is Standing.SAFE


async def test_another_index_means_reading_again_once() -> None:
    subject = await Subject().ready()
    subject.index.identity = "two"
    assert [await subject.watch.confirm() for _ in range(2)] == [Standing.REREAD, Standing.SAFE]


async def test_a_check_between_two_commits_does_not_hide_the_change() -> None:
    subject = await Subject().ready()
    subject.index.identity = "two"
    await subject.watch.check()
    assert await subject.watch.confirm() is Standing.REREAD


async def test_what_was_settled_before_an_unexpected_index_was_noticed_is_read_again_when_it_is_corrected() -> None:
    subject = await Subject().ready()
    subject.index.problem = ODD
    assert await subject.watch.confirm() is Standing.UNKNOWN
    subject.index.problem = None
    assert [await subject.watch.confirm() for _ in range(2)] == [Standing.REREAD, Standing.SAFE]


async def test_without_an_answer_acknowledged_writes_are_safe_and_known_ids_are_not() -> None:
    subject = await Subject().ready()
    subject.index.problem = Unavailable("silent")
    assert await subject.watch.confirm() is Standing.SAFE
    subject.watch.rely()
    assert await subject.watch.confirm() is Standing.UNKNOWN
    assert await subject.watch.confirm() is Standing.UNKNOWN
    subject.index.problem = None
    assert await subject.watch.confirm() is Standing.SAFE
    subject.index.problem = Unavailable("silent")
    assert await subject.watch.confirm() is Standing.SAFE


async def test_ids_that_were_relied_on_during_the_check_wait_for_the_next() -> None:
    subject = await Subject().ready()

    async def rely() -> None:
        subject.watch.rely()

    subject.index.before_check = rely
    assert await subject.watch.confirm() is Standing.SAFE
    subject.index.problem, subject.index.before_check = Unavailable("silent"), _passes
    assert await subject.watch.confirm() is Standing.UNKNOWN


async def test_a_known_change_is_not_safe_without_an_answer() -> None:
    subject = await Subject().ready()
    subject.index.identity = "two"
    await subject.watch.check()
    subject.index.problem = Unavailable("silent")
    assert await subject.watch.confirm() is Standing.UNKNOWN


async def test_a_check_that_takes_too_long_is_no_answer() -> None:
    subject = await Subject().ready()
    subject.index.before_check = asyncio.Event().wait  # type: ignore[assignment]
    assert await subject.watch.confirm(0.01) is Standing.SAFE
    subject.watch.rely()
    assert await subject.watch.confirm(0.01) is Standing.UNKNOWN
    subject.index.before_check = _passes
    assert await subject.watch.confirm(0.5) is Standing.SAFE


async def test_without_its_history_no_id_of_an_index_is_known_and_the_advice_says_which_right_is_missing() -> None:
    subject = await Subject(Index(has_history=False)).ready()
    await subject.watch.check()
    assert subject.watch.namespace == ""
    (problem,) = {each for each in subject.emitted.of(ProblemChanged) if each.problem}
    assert (problem.code, problem.severity) == ("index_history", Severity.WARNS)
    assert "monitor" in problem.advice


async def test_an_idle_indexer_checks_now_and_then_and_more_often_while_the_index_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_watch, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(index_watch, "RECHECK_INTERVAL", 0.001)
    subject = await Subject().ready()
    running = asyncio.create_task(subject.watch.run())
    await asyncio.sleep(0.05)
    assert 1 <= subject.index.checks <= 3
    subject.index.problem = ODD
    await asyncio.sleep(0.1)
    assert not subject.watch.as_expected
    assert subject.index.checks > 10
    running.cancel()
