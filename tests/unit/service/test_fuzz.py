"""No input crashes a batch, breaks a bulk body, or touches another event's document."""

import asyncio
import json
import random
import sys
from typing import Any

from fixtures.clock import Clock
from fixtures.emitted import Emitted
from fixtures.events import DELETED, NOW, UPDATED, event, value
from fixtures.hostile_inputs import damaged
from fixtures.memory.stores import MemoryDeadLetters
from fixtures.records import Reported, taken
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.indexing import BulkWriter
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decode import METADATA_FIELDS, OWN_FIELDS
from activity_indexer.ports import BulkReply
from activity_indexer.processor import Limits, Processor
from activity_indexer.ties import OrderedWriter

INPUTS_PER_SEED = 25
MANY = settings(max_examples=settings().max_examples // 3)
SOME = settings(max_examples=min(MANY.max_examples, 3000))
"""Less than what the profile says: each example is a whole batch."""

DEEP = 20_000
REGISTRY = load_enrichments([])
FAST = Backoff(0.0001, 0.0002)
CARD = event("neighbour", status="pending")
P2P = event("p", UPDATED, transaction_type="p2p", metadata={"sender_name": "Ann", "recipient_name": "Bo"})
CRYPTO = event("c", transaction_type="crypto", metadata={"symbol": "BTC", "asset_amount": 0.5})
GONE = event("d", DELETED)
NEIGHBOURS = [value("before", note="é 1.50"), value("after", 9, UPDATED)]


class Taking:
    """An index that takes all, and keeps the bodies as they were sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def bulk(self, body: bytes) -> BulkReply:
        self.bodies.append(body)
        return BulkReply(200, taken(body))

    async def prepare(self) -> None:
        pass


async def indexed(values: list[bytes]) -> tuple[list[bytes], int]:
    """The bodies that a batch of these values makes, and how many of them were dead-lettered."""
    index, letters, emitted, clock = Taking(), MemoryDeadLetters(), Emitted(), Clock(NOW)
    writer = BulkWriter(index, AdaptiveLimit(4, 60.0, clock), FAST, emitted, 1, clock)
    limits = Limits(86_400.0, 0.001, FAST)
    processor = Processor(
        None,
        REGISTRY,
        OrderedWriter(writer, index, FAST, emitted),
        letters,
        Breaker(1.0, 100, 10),
        emitted,
        limits,
        clock,
    )
    batch = Batch(0.0, [Reported(each, at) for at, each in enumerate(values)])
    await processor.process(batch)
    assert sum(emitted.outcomes.values()) == len(values)
    assert set(emitted.outcomes) <= {"indexed", "updated", "deleted", "duplicate", "late", "dead_lettered"}
    reported = {letter.at: letter.record for letter in emitted.letters}
    assert [letter.value for letter in letters.records] == [values[reported[at].offset] for at in sorted(reported)]
    return index.bodies, len(letters.records)


def pairs(body: bytes) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Action and source of each document; exactly two lines each, all of them strict JSON objects."""
    lines = body.decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) % 2 == 0
    found = [parsed(line) for line in lines]
    assert all(type(each) is dict for each in found)
    assert not any(refused_names(line) for line in lines[1::2])
    return list(zip(found[::2], found[1::2], strict=True))


def refused_names(source: str) -> list[str]:
    """Root fields that Elasticsearch refuses, and those of ours that stand there twice."""
    names = [name for name, _ in parsed(source, object_pairs_hook=list)]
    return [name for name in names if name in METADATA_FIELDS or (name in OWN_FIELDS and names.count(name) > 1)]


def parsed(line: str, **how: Any) -> Any:
    """A line of strict JSON, however deep: our parser here takes less than Elasticsearch's."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEP)
    try:
        return json.loads(line, parse_constant=_refuse, **how)
    finally:
        sys.setrecursionlimit(limit)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def check(values: list[bytes]) -> None:
    """Index the values among two good neighbours, and look at what was sent."""
    before, after = NEIGHBOURS
    bodies, dead = asyncio.run(indexed([before, *values, after]))
    found = [pair for body in bodies for pair in pairs(body)]
    sources = {action["index"]["_id"]: source for action, source in found}
    assert len(found) == len(sources) <= len(values) + 2 - dead
    for action, source in found:
        assert action["index"].keys() == {"_id", "version", "version_type"}
        assert 0 < action["index"]["version"] < 2**63
        assert source["id"] == action["index"]["_id"]
    if not any(b"before" in each or b"after" in each or b"\\u" in each for each in values):
        for name, neighbour in (("before", before), ("after", after)):
            assert json.loads(neighbour)["transaction"].items() <= sources[name].items()


@MANY
@given(st.integers(0, 2**63))
def test_damaged_events_harm_nothing(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    check([damaged(rng, rng.choice((CARD, P2P, CRYPTO, GONE))) for _ in range(INPUTS_PER_SEED)])


@SOME
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_harm_nothing(values: list[bytes]) -> None:
    check(values)


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@SOME
@given(
    st.lists(
        st.dictionaries(st.sampled_from(list(CARD["transaction"])) | st.text(), json_texts, max_size=3), max_size=2
    )
)
def test_any_fields_harm_nothing(changes: list[dict[str, Any]]) -> None:
    events = [{**CARD, "transaction": {**CARD["transaction"], **each}} for each in changes]
    check([json.dumps(each).encode() for each in events])


@SOME
@given(st.lists(json_texts, max_size=4))
def test_any_metadata_harms_nothing(metadata: list[Any]) -> None:
    kinds = ("card", "p2p", "crypto", "else")
    check([value(f"t{at}", transaction_type=kinds[at % 4], metadata=each) for at, each in enumerate(metadata)])
