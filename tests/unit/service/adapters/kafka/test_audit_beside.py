"""When the audit's client fetches, and when it takes what the indexer beside it has decoded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition
from fixtures.audit import value

from activity_indexer.adapters.kafka.audit_beside import PATIENCE, WORTHWHILE, BesideIndexer
from activity_indexer.offsets import Span
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decoded_events import DecodedEvents
from activity_indexer.positions import Partition

PLACE = Partition("transactions", 0)


@dataclass(frozen=True)
class Record:
    offset: int
    partition: int = 0
    topic: str = "transactions"
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = value("a")
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Client:
    at: int | None = 0
    fetches: bool = True
    seeks: list[int] = field(default_factory=list)

    def position_now(self, _: Partition) -> int | None:
        return self.at

    def seek(self, place: TopicPartition, offset: int) -> None:
        assert place == TopicPartition(*PLACE)
        self.seeks.append(offset)
        self.at = offset

    def pause(self, _: TopicPartition) -> None:
        assert self.fetches
        self.fetches = False

    def resume(self, _: TopicPartition) -> None:
        assert not self.fetches
        self.fetches = True


@dataclass
class Pair:
    """The indexer, the audit's client, and what is between them."""

    client: Client = field(default_factory=Client)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.decoded = DecodedEvents(1 << 24, lambda: self.now)
        self.decoded.topic_id = lambda: "id"
        self.beside = BesideIndexer(self.decoded)
        self.beside.assigned([PLACE])

    def decode(self, first: int, count: int) -> None:
        records = [Record(offset) for offset in range(first, first + count)]
        self.decoded.keep(Batch(0.0, [*records], [Span([record.offset for record in records])]), [None] * count)

    def take(self, at_most: int = 10_000) -> list[int]:
        runs = self.beside.take(self.client, [PLACE], "id", at_most)
        return [record.offset for _, run in runs for record in run.records]


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_what_the_indexer_has_is_taken_and_the_client_moves_along_without_fetching(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE)
    assert pair.take() == [*range(WORTHWHILE)]
    assert (pair.client.fetches, pair.client.seeks, pair.beside.is_waiting) == (False, [WORTHWHILE], True)


def test_for_a_few_records_the_client_does_not_stop_fetching(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE - 1)
    assert pair.take() == []
    assert pair.client.fetches


def test_once_it_takes_it_takes_few_as_well(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE)
    pair.take()
    pair.decode(WORTHWHILE, 1)
    assert pair.take() == [WORTHWHILE]


def test_an_indexer_that_is_behind_is_waited_for_but_not_for_long(pair: Pair) -> None:
    pair.decode(0, 10)
    pair.client.at = 20
    assert pair.take() == []
    assert not pair.client.fetches
    pair.now = PATIENCE
    assert pair.take() == []
    assert pair.client.fetches
    assert not pair.beside.is_waiting


def test_what_the_indexer_could_not_keep_is_fetched(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE)
    pair.take()
    pair.decode(WORTHWHILE + 5, 10)  # behind a gap
    pair.take()
    assert pair.client.fetches
    assert pair.client.at == WORTHWHILE


def test_no_more_is_taken_than_the_audit_has_room_for(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE)
    assert pair.take(at_most=50) == [*range(50)]
    assert pair.client.at == 50


def test_a_partition_whose_position_is_not_known_is_left_alone(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE)
    pair.client.at = None
    assert pair.take() == []
    assert pair.client.fetches


def test_a_new_assignment_begins_with_all_partitions_fetched_and_nothing_kept(pair: Pair) -> None:
    pair.decode(0, WORTHWHILE)
    pair.take(at_most=50)
    pair.client.fetches = True  # as the client does
    pair.beside.assigned([PLACE])
    assert not pair.beside.is_waiting
    assert pair.take() == []
    assert pair.client.fetches
