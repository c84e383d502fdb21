"""The Kafka clients' arguments, their errors in our words, and what is reported of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaTimeoutError,
    NotEnoughReplicasError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)
from fixtures.emitted import Emitted
from fixtures.records import Reported

from activity_indexer.adapters.kafka import source as kafka
from activity_indexer.adapters.kafka.client import client_arguments, mapped, within
from activity_indexer.adapters.kafka.records.internals import CorruptPartition
from activity_indexer.adapters.kafka.source import GroupSource
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.positions import Ends, Partition
from activity_indexer.reports import Dependency, DependencyChanged, PartitionsCorrupt, unreported
from activity_indexer.settings import KafkaSettings

pytestmark = pytest.mark.simulated_time

ONE = Partition("transactions", 0)


def test_servers_are_a_list_and_times_milliseconds() -> None:
    found = client_arguments(KafkaSettings(bootstrap_servers="a:1, b:2", request_timeout=2.5, metadata_max_age=1.0))
    assert found["bootstrap_servers"] == ["a:1", "b:2"]
    assert (found["request_timeout_ms"], found["metadata_max_age_ms"]) == (2500, 1000)
    assert "ssl_context" not in found
    assert "sasl_mechanism" not in found


@pytest.mark.parametrize(("protocol", "ssl"), [("SASL_SSL", True), ("SASL_PLAINTEXT", False)])
def test_a_login_is_handed_to_the_client(protocol: Any, ssl: bool) -> None:
    settings = KafkaSettings(
        security_protocol=protocol, sasl_mechanism="SCRAM-SHA-512", sasl_username="u", sasl_password="p"
    )
    found = client_arguments(settings)
    assert [found[f"sasl_{name}"] for name in ("mechanism", "plain_username", "plain_password")] == [
        "SCRAM-SHA-512",
        "u",
        "p",
    ]
    assert ("ssl_context" in found) is ssl


@pytest.mark.parametrize("check", [True, False])
def test_certificates_are_those_of_the_settings(tmp_path: Path, check: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = KafkaSettings(security_protocol="SSL", ssl_ca_file=tmp_path / "ca.pem", ssl_check_hostname=check)
    context = client_arguments(settings)["ssl_context"]
    assert context.check_hostname is check
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "error", [SaslAuthenticationFailed(), TopicAuthorizationFailedError("t"), GroupAuthorizationFailedError("g")]
)
def test_what_needs_an_operator_is_refused(error: Exception) -> None:
    assert type(mapped(error)) is Refused


@pytest.mark.parametrize("error", [KafkaConnectionError("x"), NotEnoughReplicasError(), TimeoutError(), OSError("x")])
def test_what_may_pass_later_is_unavailable(error: Exception) -> None:
    found = mapped(error)
    assert type(found) is Unavailable
    assert type(error).__name__ in str(found)


async def test_a_call_that_takes_too_long_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="TimeoutError"):
        await within(0.001, asyncio.sleep(5))


class Consumer:
    """The client's consumer, as far as it is asked here: each call gives or raises what a test asked for."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.damaged: dict[Partition, CorruptPartition] = {}
        self.handed_out = False

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition(*ONE)}

    async def _call(self, what: Any) -> Any:
        self.asked.append(what)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def corrupt(self) -> dict[Partition, CorruptPartition]:
        return self.damaged

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Any:
        answer = await self._call((timeout_ms, max_records))
        handed_out, self.handed_out = self.handed_out, True
        return {} if handed_out else answer

    async def commit(self, offsets: Any) -> Any:
        return await self._call(offsets)

    def position_now(self, partition: Any) -> Any:
        self.asked.append(partition)
        return self.answer

    async def ends(self, partitions: Any) -> Any:
        return await self._call(partitions)

    async def stop(self) -> Any:
        return await self._call("stop")


class Decided:
    """Positions, all of them decided but those that are named."""

    def __init__(self) -> None:
        self.topic_id = "x"
        self.undecided: set[Partition] = set()
        self.strayed: list[Partition] = []
        self.noted: list[Any] = []
        self.closed = False

    def decided(self, partition: Partition) -> bool:
        return partition not in self.undecided

    def out_of_range(self, partitions: Any) -> None:
        self.strayed += partitions

    def note(self, ends: Any) -> None:
        self.noted.append(ends)

    def check(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


def source(answer: Any) -> tuple[GroupSource, Consumer, Emitted]:
    emitted = Emitted()
    found, consumer = GroupSource(KafkaSettings(), emitted), Consumer(answer)
    found._consumer, found._positions = consumer, Decided()
    return found, consumer, emitted


async def test_polled_records_are_handed_over_as_they_are() -> None:
    record = Reported(b"x")
    found, consumer, emitted = source({TopicPartition(*ONE): [record]})
    assert await found.poll(0.25, 100) == {ONE: [record]}
    assert consumer.asked[0][0] == 250
    assert [wait for wait, _ in consumer.asked[1:]] == [0]
    assert emitted.of(DependencyChanged) == [DependencyChanged(Dependency.KAFKA)]


async def test_nothing_polled_says_nothing_of_the_broker() -> None:
    found, _, emitted = source({})
    assert await found.poll(0.25, 100) == {}
    assert emitted.of(DependencyChanged) == []


async def test_a_partition_that_cannot_go_on_is_reported_with_advice_and_then_not() -> None:
    found, consumer, emitted = source({})
    consumer.damaged = {ONE: CorruptPartition(17, "the checksum of the batch is wrong", 0.0)}
    await found.poll(0.25, 100)
    consumer.damaged = {}
    await found.poll(0.25, 100)
    damaged = emitted.of(PartitionsCorrupt)
    reason = damaged[0].partitions[ONE]
    assert "partition 0 of the topic transactions cannot go on at the offset 17" in reason
    assert "--group transaction_indexer --topic transactions:0 --to-offset 18" in reason
    assert damaged[1].partitions == {}


async def test_a_poll_that_fails_is_reported_and_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr(kafka.asyncio, "sleep", at_once)
    found, _, emitted = source(KafkaConnectionError("away"))
    assert await found.poll(0.25, 100) == {}
    assert "away" in str(emitted.problems(Dependency.KAFKA)[0][0])


@pytest.mark.parametrize("error", [CommitFailedError("g"), IllegalStateError("gone"), KafkaTimeoutError("late")])
async def test_a_commit_that_fails_is_unavailable(error: Exception) -> None:
    found, _, _ = source(error)
    with pytest.raises(Unavailable):
        await found.commit({ONE: 5})


async def test_offsets_are_committed_by_partition_with_the_topics_id() -> None:
    found, consumer, _ = source(None)
    await found.commit({ONE: 5})
    assert consumer.asked == [{TopicPartition(*ONE): (5, "topic-id=x")}]


async def test_a_position_is_not_known_before_it_is_decided() -> None:
    found, consumer, _ = source(7)
    assert await found.position(ONE) == 7
    found._positions.undecided.add(ONE)
    assert await found.position(ONE) is None
    assert len(consumer.asked) == 1


async def test_offsets_that_the_broker_does_not_have_are_looked_after() -> None:
    found, _, emitted = source(OffsetOutOfRangeError({TopicPartition(*ONE): 7}))
    assert await found.poll(0.25, 100) == {}
    assert found._positions.strayed == [ONE]
    assert emitted.of(DependencyChanged) == []


async def test_where_partitions_end_says_that_the_broker_is_there_or_not() -> None:
    found, _, emitted = source({ONE: Ends(9, 9)})
    assert await found.ends([ONE]) == {ONE: Ends(9, 9)}
    assert found._positions.noted == [{ONE: Ends(9, 9)}]
    assert emitted.of(DependencyChanged) == [DependencyChanged(Dependency.KAFKA)]
    found, _, emitted = source(KafkaConnectionError("away"))
    with pytest.raises(Unavailable):
        await found.ends([ONE])
    assert "away" in str(emitted.problems(Dependency.KAFKA)[0][0])


async def test_leaving_the_group_never_raises() -> None:
    for answer in (None, KafkaConnectionError("away")):
        found, consumer, _ = source(answer)
        await found.stop()
        assert consumer.asked == ["stop"]
        assert found._positions.closed
    await GroupSource(KafkaSettings(), unreported).stop()
