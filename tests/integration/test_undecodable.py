"""Records that cannot be decoded, sent to a real broker by raw requests: each is passed, its neighbours are indexed."""

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from fixtures.events import encoded, event
from fixtures.record_batches import Batch, body, field, record
from fixtures.records import headers
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, environment
from fixtures.servers.processes import Forked
from fixtures.servers.replays import Replay
from fixtures.waiting import eventually

from activity_indexer.adapters.kafka.topic_reader import TopicReader
from activity_indexer.errors import Unavailable
from activity_indexer.settings import KafkaSettings

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
ODD = [(b"\xff\xfeodd", b"v")]
BOMB = 300 * 1024 * 1024


async def produce(place: Place, batch: bytes, partition: int = 0) -> int:
    """Send the bytes of a batch as they are; returns its offset."""
    client = place.producer.client
    await client._wait_on_metadata(place.name)
    request = ProduceRequest(None, -1, 10_000, [(place.name, [(partition, batch)])])
    node = client.cluster.leader_for_partition(TopicPartition(place.name, partition))
    answer = await client.send(node, request)
    ((_, ((_, code, offset, *_),)),) = answer.topics
    if code:
        raise for_code(code)(f"{code}")
    return int(offset)


def fresh(records: Sequence[bytes], **more: Any) -> Batch:
    """A batch that the topic's retention keeps."""
    return Batch(records, time=int(time.time() * 1000), **more)


def batch(*values: bytes, odd: int | None = None, **more: Any) -> bytes:
    """A batch of events; the record `odd` has a header whose name is not UTF-8."""
    records = [record(at, value, headers=ODD if at == odd else ()) for at, value in enumerate(values)]
    return fresh(records, **more).encoded()


def events(*names: str) -> list[bytes]:
    return [encoded(event(name)) for name in names]


async def audited(place: Place, transactions: int) -> None:
    """The audit has read everything, and written this many transactions."""
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    assert len(await place.rows("SELECT id FROM transactions")) == transactions


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
async def test_an_event_with_a_header_name_that_is_not_utf8_is_indexed_like_its_neighbours(
    place: Place, indexer: Start, codec: int
) -> None:
    process = await indexer(CONSUMER_ENABLE_AUDIT_DB="true").ready()
    await produce(place, batch(*events("a", "b", "c"), odd=1, codec=codec))
    assert await process.settled(3) == {"indexed": 3}
    assert sorted(await place.documents()) == ["a", "b", "c"]
    await eventually(place.lag, 0)
    await audited(place, 3)


async def test_a_bad_event_with_such_a_header_is_dead_lettered_with_it_listed_exported_and_sent_again(
    place: Place, indexer: Start, tmp_path: Path
) -> None:
    process = await indexer().ready()
    await produce(place, batch(b"{", *events("b"), odd=0))
    assert await process.settled(2) == {"indexed": 1, "dead_lettered": 1}
    code, shown = await command(place, tmp_path, "dead-letters", "show")
    assert code == 0
    assert "\\xff\\xfeodd" in shown
    code, line = await command(place, tmp_path, "dead-letters", "export")
    exported = json.loads(line.splitlines()[0])
    assert exported["headers"][0] == [{"base64": "//5vZGQ="}, "v"]
    assert (await command(place, tmp_path, "dead-letters", "list"))[0] == 0
    code, result = await Replay(place, tmp_path / "replay").ended()
    assert (code, result["sent"]) == (0, 1)
    assert (await process.settled(3))["dead_lettered"] == 2
    code, line = await command(place, tmp_path, "dead-letters", "export")
    lines = [json.loads(each) for each in line.splitlines() if each.startswith("{")]
    assert [{"base64": "//5vZGQ="} in [name for name, _ in each["headers"]] for each in lines] == [True, True]
    file = tmp_path / "letters.jsonl"
    await asyncio.to_thread(file.write_text, "".join(json.dumps(each) + "\n" for each in lines))
    code, said = await command(place, tmp_path, "dead-letters", "import", str(file), "--force")
    assert code == 0, said
    found = await eventually(place.dead_letters, lambda letters: len(letters) == 4)
    assert all(b"\xff\xfeodd" in [name.encode() for name, _ in letter.headers] for letter in found)


async def test_a_damaged_record_in_a_compressed_batch_is_isolated_as_well(place: Place, indexer: Start) -> None:
    """The broker looks at no bytes behind a record's headers there."""
    process = await indexer().ready()
    damaged = field(body(1, b"value") + b"!")
    await produce(place, fresh([record(0, b"a"), damaged, record(2, b"c")], codec=4).encoded())
    await place.publish([event("d")])
    assert await process.settled(4) == {"indexed": 1, "dead_lettered": 3}
    assert sorted(headers(letter)["error"] for letter in await place.dead_letters()) == [
        "invalid_json",
        "invalid_json",
        "undecodable_record",
    ]


async def test_a_damaged_record_that_the_broker_accepts_is_isolated_with_its_bytes(
    place: Place, indexer: Start, tmp_path: Path
) -> None:
    """The broker looks at no offsets of records: a client that believed this one would skip a thousand events."""
    damaged = record(1000, b"b")
    process = await indexer(CONSUMER_ENABLE_AUDIT_DB="true").ready()
    a, c, d = events("a", "c", "d")
    first = await produce(place, fresh([record(0, a), damaged, record(2, c)]).encoded())
    await produce(place, batch(d))
    assert await process.settled(4) == {"indexed": 3, "dead_lettered": 1}
    assert sorted(await place.documents()) == ["a", "c", "d"]
    (letter,) = await place.dead_letters()
    reported = headers(letter)
    assert field(letter.value) == damaged
    assert (reported["stage"], reported["error"], reported["content"]) == ("decode", "undecodable_record", "record")
    assert int(reported["offset"]) == first + 1
    await eventually(place.lag, 0)
    await audited(place, 3)
    code, shown = await command(place, tmp_path, "dead-letters", "list")
    assert (code, "undecodable_record" in shown) == (0, True)
    code, shown = await command(place, tmp_path, "dead-letters", "show")
    assert (code, "the bytes of a record that cannot be decoded" in " ".join(shown.split())) == (0, True)
    code, result = await Replay(place, tmp_path / "replay").ended()
    assert (result["sent"], result["refused"]) == (0, 1)
    async with TopicReader.open(settings(place)) as it:
        read = [each async for some in it.read({}, await it.ends()) for each in some]
    assert len(read) == 4


async def test_a_bomb_costs_little_memory_and_stops_nothing(place: Place, indexer: Start, tmp_path: Path) -> None:
    process = await indexer(CONSUMER_ENABLE_AUDIT_DB="true").ready()
    await produce(place, batch(*events("a")))
    await process.settled(1)
    before = memory(process)
    bomb = fresh([record(0, b"0" * BOMB)], codec=4).encoded()
    assert len(bomb) < 50_000
    for _ in range(3):
        await produce(place, bomb)
    await produce(place, batch(*events("b")))
    assert await process.settled(5) == {"indexed": 2, "dead_lettered": 3}
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    assert memory(process) - before < 130 * 1024, "64 MiB are unpacked at most, by the indexer and by the audit"
    letters = await place.dead_letters()
    reported = headers(letters[0])
    assert (reported["error"], reported["content"]) == ("batch_too_large", "batch")
    assert letters[0].value[61:] == bomb[61:]
    code, shown = await command(place, tmp_path, "dead-letters", "list")
    assert (code, "batch_too_large" in shown) == (0, True)


def settings(place: Place) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=place.servers.kafka, transactions_topic=place.name)


def noise(size: int) -> bytes:
    """Bytes that cannot be compressed, always the same."""
    return random.Random(size).randbytes(size)  # noqa: S311 - no secret


def memory(process: Indexer) -> int:
    """The most memory that a process ever had (KiB)."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def test_a_record_that_is_too_large_is_dead_lettered_with_its_beginning(
    place: Place, indexer: Start, tmp_path: Path
) -> None:
    process = await indexer(KAFKA_MAX_RECORD_BYTES="100000").ready()
    large = encoded(event("large", metadata={"a": "x" * 300_000}))
    first = await produce(place, batch(*events("a"), large, *events("b"), codec=4))
    assert await process.settled(3) == {"indexed": 2, "dead_lettered": 1}
    (letter,) = await place.dead_letters()
    reported = headers(letter)
    assert letter.value == large[:65_536]
    assert (reported["error"], reported["truncated"], reported["size"]) == ("record_too_large", "true", str(len(large)))
    assert reported["sha256"] == hashlib.sha256(large).hexdigest()
    assert int(reported["offset"]) == first + 1
    code, shown = await command(place, tmp_path, "dead-letters", "show")
    assert (code, f"of {len(large):,} bytes, SHA-256 {reported['sha256']}" in " ".join(shown.split())) == (0, True)
    code, result = await Replay(place, tmp_path / "replay").ended()
    assert (result["sent"], result["refused"]) == (0, 1)
    code, shown = await command(place, tmp_path, "dead-letters", "replay", "--dry-run", "--include-parked")
    assert "have the producer send the event again" in " ".join(shown.split())


# Dead letters that their topic refuses


async def with_dead_letter_topic(place: Place, **configs: str) -> None:
    named = {name.replace("_", "."): value for name, value in configs.items()}
    await place.admin.create_topics([NewTopic(place.dead_letter_topic, 1, 1, topic_configs=named)])
    await eventually(lambda: place.partition_count(place.dead_letter_topic), 1)


async def test_a_dead_letter_that_is_too_large_for_its_topic_is_truncated(place: Place, indexer: Start) -> None:
    await with_dead_letter_topic(place, max_message_bytes="100000")
    process = await indexer().ready()
    large, small = noise(400_000), b"{"
    await place.publish([large, small, event("good"), b"x" * 400_000])
    assert await process.settled(4) == {"indexed": 1, "dead_lettered": 3}
    found = {letter.value[:10]: letter for letter in await place.dead_letters()}
    reported = headers(found[large[:10]])
    assert found[large[:10]].value == large[:65_536]
    assert (reported["size"], reported["sha256"]) == ("400000", hashlib.sha256(large).hexdigest())
    assert found[small].value == small
    assert found[b"x" * 10].value == b"x" * 400_000, "compressed, it fits"
    assert process.logged("dead_letters.truncated")[0]["size"] == 400_000
    assert process.logged("dead_letters.blocked") == []
    await eventually(place.lag, 0)


async def test_a_dead_letter_topic_of_a_thousand_bytes_stops_nothing(place: Place, indexer: Start) -> None:
    await with_dead_letter_topic(place, max_message_bytes="1000")
    process = await indexer().ready()
    odd = [(b"\xff", noise(900))]
    await produce(place, fresh([record(0, noise(3000), headers=odd)]).encoded())
    await place.publish([event("good")])
    assert await process.settled(2) == {"indexed": 1, "dead_lettered": 1}
    (letter,) = await place.dead_letters()
    assert headers(letter)["size"] == "3000"
    assert process.logged("dead_letters.blocked") == []


async def test_a_compacted_dead_letter_topic_takes_events_without_a_key(place: Place, indexer: Start) -> None:
    await with_dead_letter_topic(place, cleanup_policy="compact")
    process = await indexer().ready()
    await place.publish([b"{", b"["], key=None)
    await place.publish([event("good")])
    assert await process.settled(3) == {"indexed": 1, "dead_lettered": 2}
    letters = await place.dead_letters()
    assert len({letter.key for letter in letters}) == 2
    for letter in letters:
        reported = headers(letter)
        assert letter.key.decode() == f"{place.name}:{reported['partition']}:{reported['offset']}"
        assert reported["no-key"] == "true"
    assert process.logged("dead_letters.blocked") == []


# Damage on a broker's disk


async def test_a_damaged_batch_holds_only_its_partition_and_is_named_with_advice(
    place: Place, indexer: Start, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        await produce(place, batch(*events(name)))
    fix = spoil(place, b'"b"')
    process = indexer(CONSUMER_ENABLE_AUDIT_DB="true")
    await eventually(process.reasons, lambda text: "cannot go on" in text)
    await produce(place, batch(*events("x")), partition=1)
    assert await process.settled(2) == {"indexed": 2}
    assert sorted(await place.documents()) == ["a", "x"]
    reasons = await process.reasons()
    assert reasons.startswith("503 records: partition 0")
    assert "at the offset 1: the checksum of the batch is wrong" in reasons
    assert f"--group {place.group} --topic {place.name}:0 --to-offset 2" in reasons
    assert (await process.get("/livez"))[0] == 200
    async with TopicReader.open(
        KafkaSettings(bootstrap_servers=place.servers.kafka, transactions_topic=place.name)
    ) as it:
        with pytest.raises(Unavailable, match="cannot go on at the offset 1"):
            async for _ in it.read({}, await it.ends()):
                pass
    fix()
    assert await process.settled(4) == {"indexed": 4}
    await eventually(process.reasons, "200 ")
    await audited(place, 4)


def spoil(place: Place, found: bytes) -> Callable[[], None]:
    """Change a byte in the partition 0 on the broker's disk; what this gives changes it back."""
    log = place.servers.stack.settings.home / "data/kafka" / f"{place.name}-0" / "00000000000000000000.log"
    file = log.open("r+b", buffering=0)
    at = file.read().index(found) + 1

    def put(byte: bytes) -> None:
        file.seek(at)
        file.write(byte)

    def fix() -> None:
        put(found[1:2])
        file.close()

    put(b"!")
    return fix


async def command(place: Place, tmp_path: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command to its end; gives the exit code and what it printed."""
    log = tmp_path / f"command-{uuid.uuid4()}"
    log.touch()
    process = Forked(environment(place, variables), log, list(arguments))
    code = await asyncio.to_thread(process.wait, 60)
    return code, log.read_text()
