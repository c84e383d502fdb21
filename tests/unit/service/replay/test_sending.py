"""The replay itself: whatever happens, each dead letter goes back once."""

import asyncio
import time
from collections import Counter
from dataclasses import replace

import pytest
from fixtures.events import encoded, event
from fixtures.memory.replay import Killed, MemoryDocuments, MemoryLog
from fixtures.records import Reported
from fixtures.servers.replays import MISSING
from hypothesis import given, settings
from hypothesis import strategies as some

from activity_common.replay_result import Counters
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.errors import Unavailable
from activity_indexer.positions import Partition
from activity_indexer.replay import sending
from activity_indexer.replay.checkpoint import (
    Checkpoint,
    check_same,
    checkpoint_in,
    earlier_checkpoint,
    first_checkpoint,
)
from activity_indexer.replay.decide import Decider
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.ports import Overtaken, ReplayRefused
from activity_indexer.replay.sending import Sender

pytestmark = pytest.mark.simulated_time

OPTIONS = ReplayOptions(
    replay_id="r",
    indexer_group="g",
    events_topic="t",
    dead_letter_topic="t.dlq",
    parked_topic="t.dlq.parked",
    selection=Selection(errors=frozenset({"missing_field"})),
)
GROUP = OPTIONS.group


def bury(log: MemoryLog, number: int, size: int = 0) -> None:
    for at in range(number):
        record = Reported(encoded(event(f"e{at}")) + b" " * size, key=b"k", offset=at, topic="t")
        log.put("t.dlq", at % log.partitions, dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)))


def sender(log: MemoryLog, options: ReplayOptions = OPTIONS, killed=lambda _: "", stopping=None) -> Sender:
    return Sender(
        options,
        letters=log,
        transactions=log.take_over(GROUP, killed),
        decider=Decider(options, MemoryDocuments()),
        stopping=stopping or asyncio.Event(),
    )


async def run(log: MemoryLog, options: ReplayOptions = OPTIONS, **more) -> Checkpoint:
    """One run of the replay, from where the last one was."""
    found = sender(log, options, **more)
    at = await earlier_checkpoint(OPTIONS, log, log)
    if at is None:
        at = await first_checkpoint(OPTIONS, log, 0.0)
        await found.begin(at)
    return await found.run(at, lambda _: None)


def sent(log: MemoryLog) -> Counter[str | None]:
    return Counter(letter.header("replay-from") for letter in log.all("t"))


async def test_all_is_sent_once_and_the_position_is_at_the_frozen_end() -> None:
    log = MemoryLog()
    bury(log, 30)
    at = await run(log)
    assert (at.done, at.counters) == (True, Counters(read=30, sent=30))
    assert set(sent(log).values()) == {1}
    assert checkpoint_in(log.groups[GROUP]) == at
    again = await run(log)
    assert (again.counters, len(log.all("t"))) == (at.counters, 30)


@settings(max_examples=40)
@given(some.lists(some.tuples(some.integers(1, 6), some.sampled_from(["before", "after"])), max_size=5))
async def test_killed_at_any_commit_and_begun_again_it_loses_nothing_and_sends_nothing_twice(deaths) -> None:
    log = MemoryLog(batch=5)
    bury(log, 23)
    for at, how in deaths:
        due = log.commits + at
        try:
            await run(log, killed=lambda number, due=due, how=how: how if number == due else "")
        except Killed:
            bury(log, 1)  # behind the frozen end
    ended = await run(log)
    assert ended.done
    assert len(sent(log)) == ended.counters.sent == len(log.all("t"))
    assert ended.counters.sent >= 23
    assert set(sent(log).values()) <= {1}


async def test_where_it_ends_is_kept_before_anything_is_sent() -> None:
    log = MemoryLog()
    bury(log, 10)
    with pytest.raises(Killed):
        await run(log, killed=lambda number: "after" if number == 1 else "")
    bury(log, 5)
    assert not log.all("t")
    assert (await run(log)).counters.sent == 10


async def test_what_comes_meanwhile_is_left_for_the_next_replay() -> None:
    log = MemoryLog()
    bury(log, 10)
    found = sender(log)
    at = await first_checkpoint(OPTIONS, log, 0.0)
    await found.begin(at)
    bury(log, 4)
    assert (await found.run(at, lambda _: None)).counters.sent == 10


async def test_a_second_holder_of_the_transactional_id_fences_the_first() -> None:
    log = MemoryLog()
    bury(log, 10)
    found = sender(log)
    at = await first_checkpoint(OPTIONS, log, 0.0)
    await found.begin(at)
    log.take_over("another")
    with pytest.raises(Overtaken):
        await found.run(at, lambda _: None)
    assert not log.all("t")


async def test_no_more_is_sent_than_allowed_also_in_several_runs() -> None:
    log = MemoryLog()
    bury(log, 30)
    assert (await run(log, replace(OPTIONS, max_sent=11))).counters.sent == 11
    assert (await run(log, replace(OPTIONS, max_sent=11))).counters.sent == 11
    assert len(log.all("t")) == 11
    assert (await run(log)).counters.sent == 30
    assert set(sent(log).values()) == {1}


async def test_one_record_that_is_too_large_costs_few_transactions() -> None:
    log = MemoryLog(batch=64)
    bury(log, 63)
    large = Reported(encoded(event("large")) + b" " * 10_000, key=b"k", offset=63, topic="t")
    log.put("t.dlq", 0, dead_letter(large, Failure(MISSING, 1, 1000.0, 2000.0)))
    log.largest = 8_000
    at = await run(log)
    assert (at.counters.sent, at.counters.refused) == (63, 1)
    assert log.commits < 12


async def test_a_stop_ends_it_behind_a_transaction() -> None:
    log = MemoryLog(batch=4)
    bury(log, 20)
    stopping = asyncio.Event()
    stopping.set()
    at = await run(log, stopping=stopping)
    assert (at.done, at.counters.sent, len(log.all("t"))) == (False, 4, 4)
    assert (await run(log)).counters.sent == 20


class Watched:
    """A decider whose calls are counted; `asked` is set at the second, which may fail or never end."""

    def __init__(self, inner: Decider, problem: Exception | None = None, *, stuck: bool = False) -> None:
        self.inner, self.problem, self.stuck = inner, problem, stuck
        self.calls = 0
        self.asked = asyncio.Event()

    async def decide(self, letters):
        self.calls += 1
        if self.calls == 2:
            self.asked.set()
            if self.problem:
                raise self.problem
            if self.stuck:
                await asyncio.Event().wait()
        return await self.inner.decide(letters)


@pytest.mark.parametrize(("options", "ahead"), [(OPTIONS, True), (replace(OPTIONS, rate=1000.0), False)])
async def test_the_next_are_decided_while_a_transaction_is_written_but_not_before_their_time_at_a_rate(
    monkeypatch: pytest.MonkeyPatch, options: ReplayOptions, ahead: bool
) -> None:
    log = MemoryLog(batch=5)
    bury(log, 15)
    found = sender(log, options)
    at = await first_checkpoint(OPTIONS, log, 0.0)
    await found.begin(at)
    watched = found._decider = Watched(found._decider)  # type: ignore[assignment]
    commit, seen = found._transactions.commit, []

    async def slow(records, positions):
        for _ in range(10):
            await asyncio.sleep(0)
        seen.append(watched.asked.is_set())
        return await commit(records, positions)

    monkeypatch.setattr(found._transactions, "commit", slow)
    assert (await found.run(at, lambda _: None)).done
    assert seen[0] is ahead
    assert set(sent(log).values()) == {1}


async def test_what_fails_while_a_transaction_is_written_is_raised_behind_it_and_nothing_is_left_behind() -> None:
    log = MemoryLog(batch=5)
    bury(log, 15)
    found = sender(log)
    at = await first_checkpoint(OPTIONS, log, 0.0)
    await found.begin(at)
    found._decider = Watched(found._decider, Unavailable("no answer"))  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await found.run(at, lambda _: None)
    assert len(sent(log)) == 5
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stop_waits_for_nothing_that_was_begun_ahead() -> None:
    log = MemoryLog(batch=5)
    bury(log, 15)
    stopping = asyncio.Event()
    stopping.set()
    found = sender(log, stopping=stopping)
    at = await first_checkpoint(OPTIONS, log, 0.0)
    await found.begin(at)
    found._decider = Watched(found._decider, stuck=True)  # type: ignore[assignment]
    async with asyncio.timeout(5):
        assert not (await found.run(at, lambda _: None)).done
    assert len(sent(log)) == 5
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_rate_is_kept() -> None:
    log = MemoryLog()
    bury(log, 30)
    started = time.monotonic()
    await run(log, replace(OPTIONS, rate=100))
    assert time.monotonic() - started == pytest.approx(0.3)


async def test_a_record_that_is_too_large_for_its_topic_is_refused_alone() -> None:
    log = MemoryLog(batch=50, largest=5000)
    bury(log, 5)
    bury(log, 1, size=6000)
    bury(log, 5)
    at = await run(log)
    assert (at.done, at.counters.sent, at.counters.refused) == (True, 10, 1)


async def test_transactions_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "CHUNK_BYTES", 1000)
    log = MemoryLog(batch=50)
    bury(log, 12)
    await run(log)
    assert log.commits > 4


async def test_it_goes_on_only_as_it_was_begun() -> None:
    log = MemoryLog()
    bury(log, 4)
    at = await first_checkpoint(replace(OPTIONS, up_to="0:1,1:2"), log, 0.0)
    assert [position.end for position in at.partitions.values()] == [1, 2]
    check_same(at, replace(OPTIONS, up_to="1:2,0:1"))
    with pytest.raises(ReplayRefused, match="up to 0:1,1:2"):
        check_same(at, replace(OPTIONS, up_to="0:1,1:1"))
    with pytest.raises(ReplayRefused, match="another selection"):
        check_same(at, replace(OPTIONS, selection=Selection()))
    with pytest.raises(ReplayRefused, match="ends at 2"):
        await first_checkpoint(replace(OPTIONS, up_to="0:3"), log, 0.0)


async def test_offsets_that_no_replay_wrote_are_no_replay() -> None:
    log = MemoryLog()
    log.groups[GROUP][Partition("t.dlq", 0)] = (3, "")
    with pytest.raises(ReplayRefused, match="another --id"):
        await earlier_checkpoint(OPTIONS, log, log)
