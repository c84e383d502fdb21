"""Dead letters: the original bytes, why they are here, and the way back."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.events import CREATED, UPDATED, encoded, event, moment, transaction
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STRATEGY = """
from activity_indexer.enrichment.strategy import Enrichment


class Fragile:
    name = "fragile"
    transaction_types = frozenset({"voucher"})
    properties = {"voucher": {"type": "keyword"}}

    def enrich(self, transaction, metadata):
        return Enrichment({"voucher": metadata["voucher"]}, [metadata["voucher"]])
"""
ENTRY_POINT = "[activity_indexer.enrichment]\nfragile = fragile_strategy:Fragile\n"
TWICE = b'"metadata": {}', b'"metadata": {"k": 1, "k": 2}'
DUPLICATE_KEYS = encoded(event("twice", metadata={})).replace(*TWICE)
TIMES = ("dead-letter-timestamp", "dead-letter-first-failure", "dead-letter-last-failure")


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """PYTHONPATH of a package that is installed and brings a strategy of its own."""
    site = tmp_path / "site"
    metadata = site / "fragile_strategy-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "fragile_strategy.py").write_text(STRATEGY)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile-strategy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINT)
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


def voucher(identifier: str, **metadata: str) -> bytes:
    return encoded(event(identifier, transaction_type="voucher", metadata=metadata))


async def test_each_stage_dead_letters_its_bad_event_alone_with_its_bytes_headers_and_reason(
    place: Place, indexer: Start, installed: str
) -> None:
    process = await indexer(PYTHONPATH=installed).ready()
    key = b"\x00\xff key"
    bad = {
        "decode": (b'{"event_type": ', "invalid_json"),
        "validate": (encoded(event("x", amount="1")), "wrong_type"),
        "enrich": (voucher("bad"), "enrichment_failed"),
        "index": (DUPLICATE_KEYS, "document_parsing_exception"),
    }
    headers = [("traceparent", TRACE.encode()), ("empty", b""), ("bytes", b"\x00\xff")]
    sent = {}
    for stage, (value, _) in bad.items():
        await place.publish([event(f"before-{stage}")])
        sent[stage] = await place.producer.send_and_wait(place.name, value, key=key, headers=headers)
    await place.publish([voucher("good", voucher="SPRING")])
    assert await process.settled(9) == {"indexed": 5, "dead_lettered": 4}

    letters = {dict(letter.headers)["dead-letter-stage"].decode(): letter for letter in await place.dead_letters()}
    assert letters.keys() == bad.keys()
    for stage, letter in letters.items():
        value, error = bad[stage]
        reported = {name: content.decode() for name, content in letter.headers if name.startswith("dead-letter-")}
        assert (letter.key, letter.value) == (key, value)
        assert list(letter.headers[:3]) == headers
        assert reported["dead-letter-topic"] == place.name
        assert int(reported["dead-letter-partition"]) == sent[stage].partition
        assert int(reported["dead-letter-offset"]) == sent[stage].offset
        assert reported["dead-letter-error"] in (error, "document_parsing_exception", "x_content_parse_exception")
        assert reported["dead-letter-message"]
        assert reported["dead-letter-attempts"] == "1"
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", reported[name]) for name in TIMES)
        assert ("dead-letter-message-id" in reported) == (stage in ("enrich", "index"))
        assert await process.metric("dead_letters_total", stage=stage) == 1
    assert (await place.documents())["good"]["enrichment"]["voucher"] == "SPRING"
    assert await eventually(place.lag, 0) == 0


async def test_the_topic_is_made_with_the_source_topics_partitions_and_holds_nothing_valid(
    place: Place, indexer: Start
) -> None:
    await place.add_partitions(5)
    process = await indexer().ready()
    assert await place.partition_count(place.dead_letter_topic) == 5
    await place.publish([event(f"t{number}") for number in range(200)])
    assert await process.settled(200) == {"indexed": 200}
    assert await place.dead_letters() == []


async def test_a_dead_letter_that_is_sent_again_after_its_cause_is_fixed_is_indexed_and_no_duplicate(
    place: Place, indexer: Start, installed: str
) -> None:
    """The same bytes, and so the same message id."""
    process = await indexer(PYTHONPATH=installed).ready()
    await place.publish([voucher("v")])
    assert await process.settled(1) == {"dead_lettered": 1}
    (letter,) = await place.dead_letters()
    await place.producer.send_and_wait(place.name, letter.value, key=letter.key, headers=list(letter.headers))
    assert await process.settled(2) == {"dead_lettered": 2}
    assert [name for name, _ in (await place.dead_letters())[1].headers].count("dead-letter-stage") == 1
    assert process.terminate() == 0
    without_the_strategy = await indexer().ready()
    await place.producer.send_and_wait(place.name, letter.value, key=letter.key, headers=list(letter.headers))
    assert await without_the_strategy.settled(1) == {"indexed": 1}
    assert (await place.documents()).keys() == {"v"}


async def test_a_corrected_dead_letter_is_indexed(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.publish([event("a", amount="12.50")])
    await process.settled(1)
    (letter,) = await place.dead_letters()
    corrected = letter.value.replace(b'"12.50"', b"12.50")
    await place.producer.send_and_wait(place.name, corrected, key=letter.key, headers=list(letter.headers))
    assert await process.settled(2) == {"dead_lettered": 1, "indexed": 1}
    assert '"amount": 12.50' in await place.raw_source("a")


async def test_an_older_state_of_the_transaction_takes_the_place_of_a_bad_newer_one(
    place: Place, indexer: Start
) -> None:
    """Within one batch, too: the state is the newest valid event."""
    process = await indexer(CONSUMER_BATCH_TIMEOUT="1").ready()
    newest = encoded(event("a", UPDATED, moment(2), metadata={})).replace(*TWICE)
    await place.publish([event("a"), event("a", UPDATED, moment(1), status="refunded"), newest])
    outcomes = await process.settled(3)
    assert outcomes["dead_lettered"] == 1
    assert (await place.documents())["a"]["status"] == "refunded"


async def test_large_dead_letters_pass(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    note = {f"n{number}": "\u00e9" * 15_000 for number in range(30)}
    wrong = json.dumps(
        {"event_type": CREATED, "transaction": transaction("x", metadata=note, amount="no"), "timestamp": moment(0)},
        ensure_ascii=False,
    ).encode()
    await place.publish([wrong, wrong[:-2], event("a")])
    assert await process.settled(3) == {"indexed": 1, "dead_lettered": 2}
    assert sorted(len(letter.value) for letter in await place.dead_letters()) == [len(wrong) - 2, len(wrong)]


async def test_nothing_of_a_bad_event_is_in_the_log_at_info_level(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    secret = "4111-secret-4111"
    await place.publish(
        [event("a", amount=secret), f'{{"card": "{secret}'.encode(), event("b", user_id=7, status=secret)]
    )
    await process.settled(3)
    assert secret not in process.log.read_text()
    assert process.logged("event.dead_lettered")
