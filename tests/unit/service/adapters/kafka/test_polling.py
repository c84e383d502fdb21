"""Polls end at a number of bytes, whatever the client holds."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from fixtures.clock import Clock
from fixtures.records import Reported
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.adapters.kafka.polling import FIRST_STEP, BoundedPoll
from activity_indexer.memory import record_bytes

pytestmark = pytest.mark.simulated_time

PLACES = [TopicPartition("t", 0), TopicPartition("t", 1)]
LIMIT = 100_000


class Client:
    """Holds records of given sizes, of which it hands out as many as it is asked for; `then` is called at each poll."""

    def __init__(self, sizes: Sequence[int], then: Callable[[int], Any] = lambda _: None) -> None:
        self.left = [Reported(b"x" * size, offset, offset % 2, key=None) for offset, size in enumerate(sizes)]
        self.calls: list[tuple[int, int]] = []
        self.then = then

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[TopicPartition, Sequence[Reported]]:
        self.calls.append((timeout_ms, max_records))
        if (waiting := self.then(len(self.calls))) is not None:
            await waiting
        taken, self.left = self.left[:max_records], self.left[max_records:]
        found: dict[TopicPartition, list[Reported]] = {}
        for record in taken:
            found.setdefault(PLACES[record.partition], []).append(record)
        return found


async def polled(client: Client, poll: BoundedPoll | None = None, records: int = 1000) -> list[Reported]:
    poll = poll or BoundedPoll(1)
    found = await poll(client, 0.25, records, LIMIT)
    assert all(
        [record.offset for record in some] == sorted(record.offset for record in some) for some in found.values()
    )
    return [record for some in found.values() for record in some]


async def test_small_records_come_as_many_as_are_asked_for() -> None:
    client = Client([10] * 2000)
    assert len(await polled(client)) == 1000
    assert client.calls[0][0] == 250
    assert {wait for wait, _ in client.calls[1:]} == {0}, "what the client has by now, without waiting"
    assert len(client.calls) < 12


async def test_a_poll_that_took_its_slice_of_the_event_loop_ends_with_what_it_has() -> None:
    clock = Clock(0.0)

    def decompress(call: int) -> None:
        clock.now += 0.002 if call > 1 else 0.25  # the first one waits

    client = Client([10] * 2000, decompress)
    poll = BoundedPoll(1, clock)
    assert [len(await polled(client, poll)) for _ in range(3)] == [FIRST_STEP * 2**3] * 3


async def test_large_records_end_a_poll_and_what_is_left_comes_with_the_next() -> None:
    client = Client([LIMIT // 4] * 20)
    poll = BoundedPoll(1)
    first = await polled(client, poll)
    assert len(first) == 4
    assert len(await polled(client, poll)) + len(first) + len(client.left) == 20


async def test_a_record_that_is_larger_than_the_limit_comes_alone() -> None:
    client = Client([5 * LIMIT] * 3)
    assert len(await polled(client, BoundedPoll(4 * LIMIT))) == 1


@given(st.lists(st.integers(0, 2 * LIMIT), min_size=1, max_size=60), st.integers(1, LIMIT))
def test_a_poll_takes_the_limit_and_one_step_of_surprises_at_most(sizes: list[int], largest: int) -> None:
    async def run() -> None:
        client, poll, offsets = Client(sizes), BoundedPoll(largest), []
        while client.left:
            held = len(client.left)
            found = await polled(client, poll)
            assert found, "it goes on until nothing is left"
            offsets += [record.offset for record in found]
            before = found[: len(found) // 2]  # a step at most doubles what there is
            surprise = max(FIRST_STEP, len(found) - len(before)) * max(map(record_bytes, found))
            assert sum(map(record_bytes, found)) <= LIMIT + surprise
            assert held - len(client.left) == len(found)
        assert sorted(offsets) == list(range(len(sizes)))

    asyncio.run(run())


async def test_keys_and_headers_count() -> None:
    client = Client([])
    client.left = [Reported(b"", offset, 0, key=b"k" * 10_000, headers=[("h", b"v" * 15_000)]) for offset in range(50)]
    assert len(await polled(client)) <= LIMIT // 25_000 + FIRST_STEP


async def test_what_was_polled_is_handed_out_before_a_rebalance_that_the_client_waits_for() -> None:
    """Afterwards the records would be of an assignment that is no more."""
    never = asyncio.Event()
    client = Client([10] * 100, lambda call: never.wait() if call > 1 else None)
    async with asyncio.timeout(5):
        assert len(await polled(client)) == FIRST_STEP
    assert len(client.left) == 100 - FIRST_STEP


async def test_an_error_behind_records_that_were_polled_comes_with_the_next_poll() -> None:
    def fails(call: int) -> None:
        if call > 1:
            raise KafkaError("no")

    client, poll = Client([10] * 100, fails), BoundedPoll(1)
    assert len(await polled(client, poll)) == FIRST_STEP
    with pytest.raises(KafkaError):
        await polled(client, poll)
