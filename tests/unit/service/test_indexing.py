"""Writes documents until each is settled."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from fixtures.clock import Clock
from fixtures.emitted import Emitted
from fixtures.memory.stores import MemoryIndex, bulk_answer, refusal, reply

from activity_indexer.backoff import Backoff
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.document import index_line
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.event import UPDATED, Event, Transaction
from activity_indexer.facts import Severity
from activity_indexer.indexing import BulkWriter, Document, Tries
from activity_indexer.pipeline.outcome import Item, ItemError
from activity_indexer.ports import BulkReply
from activity_indexer.reports import BulkDone, BulkOutcome, DocumentsSentAlone
from activity_indexer.trial import TRIAL_ID

pytestmark = pytest.mark.simulated_time

FAST = Backoff(0.0001, 0.0002)


def document(identifier: str = "a", version: int = 5, body: bytes = b'{"id":"a"}') -> Document:
    event = Event(UPDATED, Transaction(id=identifier, user_id="u"), body, version >> 2, "", version << 8)
    return Document(event.version, index_line(identifier, event.version) + b"\n" + body + b"\n", event)


def documents(count: int) -> list[Document]:
    return [document(f"d{number}") for number in range(count)]


@dataclass
class Subject:
    """A writer on an index in memory."""

    index: MemoryIndex = field(default_factory=MemoryIndex)
    backoff: Backoff = FAST
    tries: Tries = field(default_factory=Tries)
    clock: Clock = field(default_factory=lambda: Clock(1000.0))
    emitted: Emitted = field(default_factory=Emitted)

    def __post_init__(self) -> None:
        self.limit = AdaptiveLimit(4, 60.0, asyncio.get_running_loop().time)
        self.writer = BulkWriter(self.index, self.limit, self.backoff, self.emitted, self.tries, self.clock, self.clock)

    async def until_alone(self) -> None:
        """Wait until a document is sent by itself."""
        async with asyncio.timeout(2):
            while self.writer.alone == 0:  # noqa: ASYNC110 - the writer reports it to nothing else
                await asyncio.sleep(0.0005)

    async def write(self, *wanted: Document) -> Sequence[Document]:
        async with asyncio.timeout(2):
            await self.writer.write(wanted)
        assert self.limit.in_flight == 0
        assert all(each.settled for each in wanted)
        return wanted


def first(times: int, answer: BulkReply | Exception) -> Callable[[list[str]], BulkReply | None]:
    """The first requests get this answer, all later ones pass; so does a trial document between them."""
    left = times

    def on_request(ids: list[str]) -> BulkReply | None:
        nonlocal left
        if not left:
            return None
        if ids != [TRIAL_ID]:
            left -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    return on_request


def items(answers: dict[str, list[Item]]) -> Callable[[str], Item | None]:
    """The first answers for these ids; then they pass."""

    def on_item(identifier: str) -> Item | None:
        return answers[identifier].pop(0) if answers.get(identifier) else None

    return on_item


BUSY = Item(429, ItemError("es_rejected_execution_exception", "rejected"))
ODD = Item(500, ItemError("null_pointer_exception", "null"))
BAD = Item(400, ItemError("document_parsing_exception", "failed to parse"))


async def test_documents_that_are_taken_are_written_in_one_request() -> None:
    subject = Subject()
    written = await subject.write(*documents(5))
    assert [each.result for each in written] == ["written"] * 5
    assert [each.attempts for each in written] == [1] * 5
    assert subject.emitted.of(BulkDone)[0].outcome == BulkOutcome.DONE
    assert len(subject.index.requests) == 1


async def test_nothing_to_write_is_no_request() -> None:
    subject = Subject()
    await subject.write()
    assert subject.index.requests == []


async def test_a_conflict_with_a_shared_version_is_left_open_and_any_other_is_late() -> None:
    subject = Subject()
    await subject.write(document("a", 5), document("b", 5))
    again, late = await subject.write(document("a", 5), document("b", 4))
    assert (again.result, again.taken, late.result) == ("shared", 5 << 8, "late")


async def test_only_items_that_failed_are_sent_again() -> None:
    subject = Subject(MemoryIndex(on_item=items({"d1": [BUSY, BUSY], "d3": [BUSY]})))
    written = await subject.write(*documents(5))
    assert subject.index.requests[1:] == [["d1", "d3"], ["d1"]]
    assert [each.attempts for each in written] == [1, 3, 1, 2, 1]
    assert {each.result for each in written} == {"written"}


async def test_push_back_is_waited_for_however_long_and_never_an_error() -> None:
    subject = Subject(MemoryIndex(on_item=items({"a": [BUSY] * 50})))
    (written,) = await subject.write(document("a"))
    assert (written.result, written.error, written.attempts) == ("written", None, 51)


@pytest.mark.parametrize(
    "answer",
    [
        Unavailable("no connection"),
        refusal(429, "es_rejected_execution_exception"),
        reply(503, b"<html>"),
        reply(502, b""),
        reply(504, b"timeout"),
        refusal(503, "master_not_discovered_exception"),
        refusal(400, "circuit_breaking_exception"),
    ],
    ids=str,
)
async def test_an_outage_is_waited_for_and_reported_once_it_is_over(answer: BulkReply | Exception) -> None:
    subject = Subject(MemoryIndex(on_request=first(20, answer)))
    written = await subject.write(*documents(2))
    assert {each.result for each in written} == {"written"}
    assert len(subject.index.requests) == 21
    assert subject.emitted.outages
    assert subject.emitted.recoveries == 1


async def test_an_outage_lets_one_request_at_a_time_try() -> None:
    limits: list[int] = []

    async def note() -> None:
        limits.append(subject.limit.limit)

    subject = Subject(MemoryIndex(on_request=first(5, Unavailable("away")), pause=note))
    await subject.write(document())
    assert limits[0] == 2
    assert set(limits[1:]) == {1}
    assert len(limits) == 6 + subject.index.trials


async def test_push_back_for_single_items_lets_fewer_requests_at_a_time_try() -> None:
    limits: list[int] = []

    async def note() -> None:
        limits.append(subject.limit.limit)

    subject = Subject(MemoryIndex(on_item=items({"d1": [BUSY] * 3}), pause=note))
    await subject.write(*documents(3))
    assert limits == [2, 1, 1, 1]


async def test_who_waits_long_is_woken_when_another_request_passes() -> None:
    subject = Subject(MemoryIndex(on_request=first(1, Unavailable("away"))), Backoff(0.001, 0.001))
    subject.writer._backoff = Backoff(30.0, 60.0)
    waiting = asyncio.create_task(subject.write(document("a")))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    subject.writer._backoff = FAST
    await subject.write(document("b"))
    async with asyncio.timeout(1):
        (written,) = await waiting
    assert written.result == "written"


async def test_413_halves_the_request_until_it_passes() -> None:
    def limited(ids: list[str]) -> BulkReply | None:
        return reply(413, b"<html>too large</html>") if len(ids) > 3 else None

    subject = Subject(MemoryIndex(on_request=limited))
    written = await subject.write(*documents(10))
    assert {each.result for each in written} == {"written"}
    assert sorted(identifier for ids in subject.index.requests if len(ids) <= 3 for identifier in ids) == sorted(
        f"d{number}" for number in range(10)
    )


async def test_a_document_too_large_for_any_request_is_refused_alone() -> None:
    def limited(ids: list[str]) -> BulkReply | None:
        return reply(413, b"") if "d2" in ids else None

    subject = Subject(MemoryIndex(on_request=limited))
    written = await subject.write(*documents(4))
    assert [each.result for each in written] == ["written", "written", None, "written"]
    assert written[2].error
    assert (written[2].error.stage, written[2].error.code) == ("index", "request_too_large")


@pytest.mark.parametrize("count", [1, 2, 3, 64, 100])
async def test_400_is_bisected_to_the_guilty_document(count: int) -> None:
    guilty = f"d{count * 2 // 3}"

    def choking(ids: list[str]) -> BulkReply | None:
        return refusal(400, "illegal_argument_exception", "Malformed line") if guilty in ids else None

    subject = Subject(MemoryIndex(on_request=choking))
    written = await subject.write(*documents(count))
    assert [number for number, each in enumerate(written) if each.error] == [count * 2 // 3]
    assert len(subject.index.documents) == count - 1
    assert len(subject.index.requests) <= 2 * math.ceil(math.log2(count)) + 1 + (count == 1)


async def test_two_guilty_documents_are_both_found() -> None:
    def choking(ids: list[str]) -> BulkReply | None:
        return refusal(400, "parse_exception", "bad") if {"d1", "d6"} & set(ids) else None

    subject = Subject(MemoryIndex(on_request=choking))
    written = await subject.write(*documents(8))
    assert [number for number, each in enumerate(written) if each.error] == [1, 6]


async def test_what_can_never_pass_is_refused_at_once_with_the_reason() -> None:
    subject = Subject(MemoryIndex(on_item=items({"d1": [BAD] * 9})))
    written = await subject.write(*documents(3))
    assert [each.attempts for each in written] == [1, 1, 1]
    error = written[1].error
    assert error
    assert (error.stage, error.code, error.message) == ("index", "document_parsing_exception", "failed to parse")
    assert written[1].first_failure == written[1].last_failure == 1000.0


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_a_suspect_is_tried_that_many_times_more_and_then_refused(max_retries: int) -> None:
    subject = Subject(MemoryIndex(on_item=items({"d1": [ODD] * 99})), tries=Tries(suspect=max_retries))
    written = await subject.write(*documents(3))
    assert [each.attempts for each in written] == [1, 1 + max_retries, 1]
    assert written[1].error
    assert written[1].error.code == "null_pointer_exception"


async def test_a_suspect_that_passes_is_written() -> None:
    subject = Subject(MemoryIndex(on_item=items({"a": [ODD, ODD, ODD]})))
    (written,) = await subject.write(document("a"))
    assert (written.result, written.attempts) == ("written", 4)


async def test_push_back_between_suspicions_costs_no_try() -> None:
    subject = Subject(MemoryIndex(on_item=items({"a": [ODD, BUSY, ODD, BUSY, ODD]})))
    (written,) = await subject.write(document("a"))
    assert (written.result, written.attempts) == ("written", 6)


async def test_first_and_last_failure_are_reported() -> None:
    subject = Subject(MemoryIndex(on_item=items({"a": [ODD] * 9})))

    async def later() -> None:
        if subject.index.trials == 0:
            subject.clock.now += 10

    subject.index.pause = later
    (written,) = await subject.write(document("a"))
    assert (written.first_failure, written.last_failure) == (1010.0, 1040.0)


async def test_an_unexplained_failure_of_a_request_ends_at_the_document_to_blame() -> None:
    def choking(ids: list[str]) -> BulkReply | None:
        return refusal(500, "null_pointer_exception") if "d5" in ids else None

    subject = Subject(MemoryIndex(on_request=choking))
    written = await subject.write(*documents(8))
    assert [number for number, each in enumerate(written) if each.error] == [5]
    assert written[5].error
    assert written[5].error.message == "Elasticsearch gave no reason"
    assert len(subject.index.requests) <= 4 + 2 * 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>ok</html>",
        b"null",
        b"{}",
        b'{"errors":true,"items":[]}',
        b'{"errors":true,"items":[{"index":{"status":201}}]}',
        b'{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":201}}]}',
        b'{"errors":' * 20_000,
        b'{"errors":true,"x":' + b"[" * 20_000,
        b"\xff\xfe",
    ],
    ids=lambda body: str(body[:40]),
)
async def test_an_answer_that_makes_no_sense_is_tried_again(body: bytes) -> None:
    subject = Subject(MemoryIndex(on_request=first(2, reply(200, body))))
    written = await subject.write(*documents(2))
    assert {each.result for each in written} == {"written"}
    assert len(subject.index.requests) == 3


NOT_ELASTICSEARCH = [
    *(reply(status, b"<html><body>sign in</body></html>") for status in (200, 201, 302, 400, 404, 405, 407, 410, 421)),
    *(reply(status, b"") for status in (200, 204, 308, 425, 499, 500, 507, 520, 522, 524, 526, 530)),
    reply(200, {}),
    reply(200, {"took": 1, "errors": True}),
    reply(200, {"errors": False}),
    reply(200, {"errors": False, "items": []}),
    reply(200, b'{"errors":true,"items":[{"index":{"status":40'),
    reply(400, {"error": "no handler found"}),
]


@pytest.mark.parametrize("answer", NOT_ELASTICSEARCH, ids=str)
async def test_an_answer_that_is_not_elasticsearchs_is_an_outage_however_long(answer: BulkReply) -> None:
    subject = Subject(MemoryIndex(on_request=first(60, answer)))
    written = await subject.write(*documents(4))
    assert {each.result for each in written} == {"written"}
    assert subject.emitted.halts == []
    assert len(subject.index.requests) == 61
    assert str(answer.status) in subject.emitted.outages[0]


async def test_the_reason_of_an_outage_is_the_first_text_of_what_came() -> None:
    page = b"<html><head><script>x()</script></head><body><h1>Please</h1>\n sign in</body></html>"
    subject = Subject(MemoryIndex(on_request=first(2, reply(302, page))))
    await subject.write(document())
    assert subject.emitted.outages[0] == "302 Please sign in"


# The index, or the document?


def all_but_the_trial(answer: Item) -> Callable[[str], Item | None]:
    return lambda identifier: None if identifier == TRIAL_ID else answer


BROKEN = [
    (BAD, "document_parsing_exception: failed to parse"),
    (ODD, "null_pointer_exception: null"),
    (Item(400, ItemError("illegal_argument_exception", "odd")), "illegal_argument_exception: odd"),
    (Item(400, ItemError("routing_missing_exception", "routing is required")), "routing_missing_exception: routing"),
    (
        Item(400, ItemError("illegal_argument_exception", "pipeline with id [nope] does not exist")),
        "illegal_argument_exception: pipeline with id [nope] does not exist",
    ),
]


@pytest.mark.parametrize(("answer", "reported"), BROKEN)
async def test_an_index_that_refuses_a_good_document_refuses_none_for_good(answer: Item, reported: str) -> None:
    broken = True
    subject = Subject(MemoryIndex(on_item=lambda _: answer if broken else None), Backoff(0.001, 0.001))
    writing = asyncio.create_task(subject.write(*documents(20)))
    await asyncio.sleep(0.05)
    assert not writing.done()
    assert reported in subject.emitted.halts[-1]
    assert len(subject.index.requests) > 5
    broken = False
    written = await writing
    assert {each.result for each in written} == {"written"}
    assert subject.emitted.recoveries == 1


@pytest.mark.parametrize(
    "answer", [refusal(400, "illegal_argument_exception", "malformed"), refusal(500, "null_pointer_exception", "null")]
)
async def test_a_request_is_not_bisected_while_nothing_passes(answer: BulkReply) -> None:
    broken = True
    subject = Subject(MemoryIndex(on_request=lambda _: answer if broken else None), Backoff(0.001, 0.001))
    writing = asyncio.create_task(subject.write(*documents(8)))
    await asyncio.sleep(0.05)
    assert "known to be good" in subject.emitted.halts[-1]
    assert {len(ids) for ids in subject.index.requests} == {8}
    broken = False
    written = await writing
    assert {each.result for each in written} == {"written"}


async def test_a_gateway_that_takes_no_body_at_all_is_an_outage() -> None:
    subject = Subject(MemoryIndex(on_request=first(20, reply(413, b"<html>too large</html>"))))
    written = await subject.write(*documents(4))
    assert {each.result for each in written} == {"written"}
    assert {len(ids) for ids in subject.index.requests[:20]} == {4}


async def test_a_bad_document_that_is_alone_in_the_topic_is_refused() -> None:
    subject = Subject(MemoryIndex(on_item=all_but_the_trial(BAD)))
    (written,) = await subject.write(document())
    assert written.error
    assert written.error.code == "document_parsing_exception"
    assert (subject.index.trials, written.attempts) == (2, 2), "the index took another one before and after"


async def test_an_index_that_is_corrected_between_a_document_and_the_trial_refuses_none_for_good() -> None:
    answers = [BAD] * 3
    subject = Subject(MemoryIndex(on_item=lambda _: answers.pop() if answers else None))
    written = await subject.write(*documents(3))
    assert {each.result for each in written} == {"written"}
    assert subject.index.trials == 1


async def test_what_passes_costs_no_trial() -> None:
    subject = Subject(MemoryIndex(on_item=items({"d1": [BUSY]})))
    await subject.write(*documents(5))
    assert subject.index.trials == 0


def refusing(field: str) -> Item:
    return Item(400, ItemError("document_parsing_exception", f"failed to parse field [{field}] of type [integer]"))


async def test_where_others_pass_only_the_trials_own_defect_holds_a_document() -> None:
    """A mapping of another's, which takes other documents than ours: a bad one among them blocks nothing."""
    answers = {TRIAL_ID: refusing("user_id"), "d1": refusing("metadata"), "d2": refusing("user_id")}
    subject = Subject(MemoryIndex(on_item=answers.get), Backoff(0.001, 0.001))
    wanted = documents(4)
    writing = asyncio.create_task(subject.write(*wanted))
    await asyncio.sleep(0.05)
    assert [each.settled for each in wanted] == [True, True, False, True]
    assert wanted[1].error
    assert "user_id" in subject.emitted.halts[-1]
    answers.clear()
    await writing
    assert wanted[2].result == "written"


async def test_while_one_waits_for_an_operator_others_that_pass_are_no_recovery() -> None:
    denied = Item(400, ItemError("strict_dynamic_mapping_exception", "strict"))
    answers = {"d1": denied}
    subject = Subject(MemoryIndex(on_item=answers.get), Backoff(0.001, 0.001))
    writing = asyncio.create_task(subject.write(*documents(2)))
    await asyncio.sleep(0.01)
    await subject.writer.write([document("other")])
    assert not subject.emitted.recoveries
    answers.clear()
    await writing
    assert subject.emitted.problems()[-1][0] is None
    assert subject.emitted.recoveries


# Push-back that never ends

TOO_LARGE = Item(429, ItemError("es_rejected_execution_exception", "rejected execution of primary operation"))


def passing_time(subject: Subject, seconds: float) -> None:
    async def pause() -> None:
        subject.clock.now += seconds

    subject.index.pause = pause


async def test_a_document_that_is_pushed_back_alone_for_long_enough_is_refused_and_no_other_waits() -> None:
    """Elasticsearch refuses all documents of a shard when one of them is too large."""

    def crowded(ids: list[str]) -> BulkReply | None:
        return bulk_answer([TOO_LARGE] * len(ids)) if "d5" in ids else None

    subject = Subject(MemoryIndex(on_request=crowded), tries=Tries(3, 10, 120.0))
    passing_time(subject, 5)
    wanted = documents(8)
    writing = asyncio.create_task(subject.write(*wanted))
    await subject.until_alone()
    limit = subject.limit.limit
    await asyncio.sleep(0.001)
    assert [each.settled for each in wanted] == [each is not wanted[5] for each in wanted]
    await writing
    assert wanted[5].error
    assert wanted[5].error.code == "push_back_never_ends"
    assert "while the index took others" in wanted[5].error.message
    assert "rejected execution of primary operation" in wanted[5].error.message
    assert wanted[5].tries_alone >= 10
    assert subject.writer.alone == 0
    assert subject.emitted.of(DocumentsSentAlone)[-1].documents == 0
    assert subject.limit.limit == limit, "its tries are no reason for fewer requests"


@pytest.mark.parametrize("tries", [Tries(3, 1000, 0.0), Tries(3, 1, 1e9)], ids=["too few tries", "too early"])
async def test_until_then_it_is_tried_again(tries: Tries) -> None:
    subject = Subject(MemoryIndex(on_item=items({"a": [TOO_LARGE] * 50})), tries=tries)
    (written,) = await subject.write(document("a"))
    assert (written.result, written.error, written.attempts) == ("written", None, 51)
    assert subject.writer.alone == 0


async def test_while_everything_is_pushed_back_nothing_is_refused() -> None:
    busy = True
    subject = Subject(MemoryIndex(on_item=lambda _: TOO_LARGE if busy else None), tries=Tries(3, 2, 1.0))
    passing_time(subject, 50)
    writing = asyncio.create_task(subject.write(*documents(3)))
    await asyncio.sleep(0.02)
    assert {len(ids) for ids in subject.index.requests} == {3}
    assert subject.emitted.outages
    busy = False
    written = await writing
    assert {each.result for each in written} == {"written"}


async def test_a_document_that_only_a_gateway_refuses_waits_alone_and_is_never_refused() -> None:
    page = reply(503, b"<html>blocked by policy</html>")
    subject = Subject(MemoryIndex(on_request=lambda ids: page if "d1" in ids else None), tries=Tries(3, 2, 0.0))
    wanted = documents(4)
    writing = asyncio.create_task(subject.writer.write(wanted))
    await asyncio.sleep(0.05)
    assert [each.settled for each in wanted] == [True, False, True, True]
    assert subject.emitted.of(DocumentsSentAlone)[-1] == DocumentsSentAlone(1, "http_503: 503 blocked by policy")
    subject.index.on_request = lambda _: None
    await writing
    assert wanted[1].result == "written"


async def test_who_gives_up_waits_alone_no_more() -> None:
    subject = Subject(MemoryIndex(on_item=items({"a": [TOO_LARGE] * 10_000})), tries=Tries(3, 10**9, 0.0))
    writing = asyncio.create_task(subject.writer.write([document("a")]))
    await subject.until_alone()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert subject.writer.alone == 0
    assert subject.limit.in_flight == 0


@pytest.mark.parametrize(
    "answer",
    [refusal(401, "security_exception", "missing credentials"), refusal(403, "security_exception", "unauthorized")],
    ids=["401", "403"],
)
async def test_a_halt_is_reported_waited_for_and_recovered_from(answer: BulkReply) -> None:
    subject = Subject(MemoryIndex(on_request=first(10, answer)))
    written = await subject.write(*documents(2))
    assert {each.result for each in written} == {"written"}
    assert "security_exception" in subject.emitted.halts[0]
    assert subject.emitted.recoveries == 1


async def test_a_halted_item_halts_itself_only() -> None:
    denied = Item(403, ItemError("security_exception", "unauthorized"))
    subject = Subject(MemoryIndex(on_item=items({"d1": [denied] * 3})))
    written = await subject.write(*documents(3))
    assert [each.attempts for each in written] == [1, 4, 1]
    assert subject.emitted.halts


async def test_a_missing_index_is_prepared_again() -> None:
    subject = Subject(MemoryIndex(missing=True))
    written = await subject.write(*documents(2))
    assert {each.result for each in written} == {"written"}
    assert subject.index.prepared == 1
    assert subject.emitted.halts == []


@pytest.mark.parametrize(
    ("problem", "severity"),
    [(Refused("may not create it"), Severity.BLOCKS), (Unavailable("away"), Severity.WAITS)],
)
async def test_a_missing_index_that_cannot_be_prepared_is_waited_for(
    problem: Refused | Unavailable, severity: Severity
) -> None:
    subject = Subject(MemoryIndex(missing=True, unprepared=problem))
    writing = asyncio.create_task(subject.write(document()))
    await asyncio.sleep(0.01)
    found, follows = subject.emitted.problems()[0]
    assert (str(problem) in str(found), follows) == (True, severity)
    assert not writing.done()
    subject.index.unprepared = None
    (written,) = await writing
    assert written.result == "written"
    assert subject.emitted.problems()[-1][0] is None


async def test_every_outcome_in_one_answer_is_handled_apart() -> None:
    denied = Item(403, ItemError("security_exception", "unauthorized"))
    subject = Subject(MemoryIndex(on_item=items({"d0": [BAD], "d1": [BUSY], "d2": [ODD], "d3": [denied]})))
    written = await subject.write(*documents(5), document("d4", 5))
    assert [each.result for each in written] == [None, "written", "written", "written", "written", "shared"]
    assert Counter(identifier for ids in subject.index.requests for identifier in ids) == {
        "d0": 1,
        "d1": 2,
        "d2": 2,
        "d3": 2,
        "d4": 2,
    }


async def test_giving_up_a_request_gives_its_place_back() -> None:
    stuck = asyncio.Event()

    async def wait() -> None:
        await stuck.wait()

    subject = Subject(MemoryIndex(pause=wait))
    writing = asyncio.create_task(subject.writer.write(documents(2)))
    await asyncio.sleep(0.001)
    assert subject.limit.in_flight == 1
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert subject.limit.in_flight == 0


async def test_requests_under_way_stay_within_the_limit() -> None:
    most = 0

    async def watch() -> None:
        nonlocal most
        most = max(most, subject.limit.in_flight)
        await asyncio.sleep(0.0005)

    subject = Subject(MemoryIndex(pause=watch))
    await asyncio.gather(*(subject.writer.write([document(f"x{number}")]) for number in range(40)))
    assert 2 <= most <= 4
