"""What every DeadLetters promises: the fake in memory and Kafka alike."""

import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fixtures.memory.stores import MemoryDeadLetters
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_indexer.adapters.kafka.client import prepare_topics
from activity_indexer.adapters.kafka.dead_letters.topic import DeadLetterTopic
from activity_indexer.ports import DeadLetters, HeaderName, OutRecord
from activity_indexer.settings import KafkaSettings

Reported = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


NOISE = random.Random(1).randbytes(100_000)  # noqa: S311 - no secret
LIMIT = 10_000
"""Bytes of a record in the dead-letter topic."""

PLACE = [("dead-letter-topic", b"transactions"), ("dead-letter-partition", b"3"), ("dead-letter-offset", b"17")]


async def unchanged() -> None:
    """The topic stays as it is."""


@dataclass(frozen=True)
class Subject:
    """A dead-letter topic, and a way to read all that is in it."""

    topic: DeadLetters
    read: Callable[[], Awaitable[list[Reported]]]
    compact: Callable[[], Awaitable[object]] = unchanged


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "memory":
        memory = MemoryDeadLetters()

        async def kept() -> list[Reported]:
            return [reported(record) for record in memory.records]

        yield Subject(memory, kept)
        return
    servers: Servers = request.getfixturevalue("stack")
    async with Place.on(servers, partitions=1) as place:
        settings = KafkaSettings(
            bootstrap_servers=servers.kafka, transactions_topic=place.name, max_request_bytes=LIMIT
        )
        await prepare_topics(settings)
        topic = DeadLetterTopic(settings)

        async def read() -> list[Reported]:
            return [reported(record) for record in await place.dead_letters()]

        resource = ConfigResource(ConfigResourceType.TOPIC, place.dead_letter_topic, {"cleanup.policy": "compact"})
        yield Subject(topic, read, partial(place.admin.alter_configs, [resource]))
        await topic.stop()


def reported(record: OutRecord) -> Reported:
    return record.key, record.value, [(name, value) for name, value in record.headers]


RECORDS: Sequence[OutRecord] = (
    OutRecord(b"user_1", b'{"a":1}', [("dead-letter-stage", b"index"), ("traceparent", b"00-1-2-01")]),
    OutRecord(None, b"\xff\x00 not JSON", []),
    OutRecord(None, None, [("neither", b"key nor value")]),
    OutRecord(b"user_2", None, [("same", b"1"), ("same", "é".encode())]),
    OutRecord(b"", b"", [("empty", b"")]),
    OutRecord(b"user_3", b"odd", [("plain", b"1"), (HeaderName.of(b"\xff\xfe"), b"2")]),
)


async def test_records_arrive_as_they_were_with_their_headers(subject: Subject) -> None:
    assert await subject.topic.send(RECORDS) == ([], "")
    found = await eventually(subject.read, lambda read: len(read) >= len(RECORDS))
    assert sorted(found, key=repr) == sorted(map(reported, RECORDS), key=repr)


async def test_sending_nothing_is_nothing(subject: Subject) -> None:
    assert await subject.topic.send([]) == ([], "")


async def test_records_of_several_calls_are_kept(subject: Subject) -> None:
    for record in RECORDS:
        assert await subject.topic.send([record]) == ([], "")
    await eventually(subject.read, lambda read: len(read) == len(RECORDS))


async def test_what_is_refused_is_given_back_with_the_reason_and_the_rest_is_written(subject: Subject) -> None:
    needed = [(f"dead-letter-{number}", NOISE[:256]) for number in range(80)]  # too large without its value, too
    large, small = OutRecord(b"k", b"large", needed), OutRecord(b"k", b"small", [])
    if isinstance(subject.topic, MemoryDeadLetters):
        subject.topic.refuse = lambda record: "refuses a record" if record is large else None
    unsent, problem = await subject.topic.send([large, small])
    assert unsent == [large]
    assert "refuses a record" in problem
    assert await subject.topic.send([small]) == ([], "")
    await eventually(subject.read, lambda read: [value for _, value, _ in read] == [b"small", b"small"])


async def test_of_a_record_that_is_too_large_as_much_is_written_as_the_topic_takes(subject: Subject) -> None:
    if isinstance(subject.topic, MemoryDeadLetters):
        subject.topic.max_bytes = LIMIT
    large, small = OutRecord(b"k", NOISE, [("h", b"1"), *PLACE]), OutRecord(b"k", b"small", [("h", b"2")])
    assert await subject.topic.send([large, small]) == ([], "")
    found = await eventually(subject.read, lambda read: len(read) == 2)
    reported = {value: dict(headers) for _, value, headers in found}
    assert reported[b"small"] == {"h": b"2"}
    (cut,) = reported.keys() - {b"small"}
    assert cut == NOISE[:4096]
    assert reported[cut]["dead-letter-sha256"] == hashlib.sha256(NOISE).hexdigest().encode()
    assert (reported[cut]["dead-letter-size"], reported[cut]["dead-letter-truncated"]) == (b"100000", b"true")
    assert (reported[cut]["dead-letter-offset"], reported[cut]["dead-letter-headers-dropped"]) == (b"17", b"1")


async def test_a_compacted_topic_takes_records_without_a_key(subject: Subject) -> None:
    if isinstance(subject.topic, MemoryDeadLetters):
        subject.topic.needs_key = True
    else:
        await subject.compact()
    assert await subject.topic.send([OutRecord(None, b"1", PLACE), OutRecord(b"k", b"2", PLACE)]) == ([], "")
    found = await eventually(subject.read, lambda read: len(read) == 2)
    assert {(key, dict(headers).get("dead-letter-no-key")) for key, _, headers in found} == {
        (b"transactions:3:17", b"true"),
        (b"k", None),
    }


async def test_a_broker_that_is_not_there_gives_every_record_back() -> None:
    topic = DeadLetterTopic(KafkaSettings(bootstrap_servers="127.0.0.1:1", request_timeout=1.0))
    unsent, problem = await topic.send(RECORDS)
    assert unsent == RECORDS
    assert "Kafka" in problem
    await topic.stop()
