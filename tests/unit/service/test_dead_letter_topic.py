"""The producer of dead letters: one that failed is replaced, and what an operator must fix is named."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import InvalidTimestampError, KafkaConnectionError, NotEnoughReplicasError, RecordTooLargeError

from activity_indexer.adapters import dead_letter_topic
from activity_indexer.adapters.dead_letter_topic import DeadLetterTopic
from activity_indexer.ports import OutRecord
from activity_indexer.settings import KafkaSettings


async def prepared(_settings: object) -> None:
    """The topic is there."""


class Producer:
    """The client's producer: fails for the values that it was told of."""

    made: list["Producer"]

    def __init__(self, failures: dict[bytes, Exception], **_: Any) -> None:
        self.failures = failures
        self.sent: list[bytes] = []
        self.stopped = False

    async def start(self) -> None:
        if error := self.failures.get(b"start"):
            raise error

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, topic: str, value: bytes, **_: Any) -> "asyncio.Future[None]":
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if error := self.failures.get(value):
            acknowledged.set_exception(error)
        else:
            acknowledged.set_result(None)
            self.sent.append(value)
        return acknowledged


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[bytes, Exception], list[Producer]]:
    failures: dict[bytes, Exception] = {}
    made: list[Producer] = []

    def make(**arguments: Any) -> Producer:
        assert arguments["acks"] == "all"
        assert arguments["enable_idempotence"] is True
        made.append(Producer(failures, **arguments))
        return made[-1]

    monkeypatch.setattr(dead_letter_topic, "AIOKafkaProducer", make)
    return failures, made


RECORDS = [OutRecord(None, b"a", []), OutRecord(None, b"b", [])]


async def test_a_producer_that_failed_is_made_anew(producers: tuple[dict[bytes, Exception], list[Producer]]) -> None:
    failures, made = producers
    topic = DeadLetterTopic(KafkaSettings(), prepared)
    failures[b"b"] = NotEnoughReplicasError()
    unsent, problem = await topic.send(RECORDS)
    assert (unsent, made[0].sent, made[0].stopped) == ([RECORDS[1]], [b"a"], True)
    assert "NotEnoughReplicas" in problem
    failures.clear()
    assert await topic.send(unsent) == ([], "")
    assert [producer.sent for producer in made] == [[b"a"], [b"b"]]


async def test_a_producer_is_used_again_while_it_works(
    producers: tuple[dict[bytes, Exception], list[Producer]],
) -> None:
    topic = DeadLetterTopic(KafkaSettings(), prepared)
    await asyncio.gather(*(topic.send(RECORDS) for _ in range(3)))
    await topic.stop()
    assert [len(producer.sent) for producer in producers[1]] == [6]
    assert producers[1][0].stopped


async def test_a_producer_that_does_not_start_is_ended(
    producers: tuple[dict[bytes, Exception], list[Producer]],
) -> None:
    failures, made = producers
    failures[b"start"] = KafkaConnectionError("away")
    unsent, problem = await DeadLetterTopic(KafkaSettings(), prepared).send(RECORDS)
    assert unsent == RECORDS
    assert "away" in problem
    assert made[0].stopped


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RecordTooLargeError(), "raise its max.message.bytes and KAFKA_MAX_REQUEST_BYTES"),
        (InvalidTimestampError(), "set the clock right, or the topic's message.timestamp.type to LogAppendTime"),
    ],
)
async def test_a_record_that_people_must_make_way_for_says_what_to_do(
    producers: tuple[dict[bytes, Exception], list[Producer]], error: Exception, advice: str
) -> None:
    producers[0][b"a"] = error
    _, problem = await DeadLetterTopic(KafkaSettings(), prepared).send(RECORDS)
    assert advice in problem
