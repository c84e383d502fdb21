"""The load generator on real servers: what it publishes, what its ledger says, what verifying finds."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewTopic
from aiokafka.partitioner import DefaultPartitioner
from fixtures.servers.place import Servers
from fixtures.servers.plain_indexer import PlainlyIndexed, enriched, positioned, tombstone

from activity_indexer.ports import HeaderName
from activity_loadgen.expected import ExpectedState, FinalEvent
from activity_loadgen.generate import Event, generate
from activity_loadgen.kafka import KafkaConnection, KafkaUnavailableError, admin_client, partitions_of
from activity_loadgen.ledger import Entry, LedgerWriter, digest, read
from activity_loadgen.options import MAX_PAYLOAD_BYTES, LoadOptions
from activity_loadgen.publish import PublishError, PublishOptions, publish
from activity_loadgen.run import Plan, run, run_verify
from activity_loadgen.verify import VerifyOptions, VerifyReport

pytestmark = pytest.mark.integration

MIXED = LoadOptions(
    count=60,
    users=10,
    update_ratio=0.5,
    delete_ratio=0.2,
    duplicate_ratio=0.2,
    late_ratio=0.2,
    invalid_ratio=0.2,
    traceparent_ratio=0.5,
)
QUICK = VerifyOptions(timeout=1.0)
PATIENT = VerifyOptions(timeout=30.0)


@pytest.fixture
async def place(stack: Servers) -> AsyncIterator[PlainlyIndexed]:
    async with PlainlyIndexed.on(stack, partitions=0) as place:
        await place.make_index()
        yield place


async def published(
    place: PlainlyIndexed, ledger: Path, load: LoadOptions = MIXED
) -> tuple[ExpectedState, list[ConsumerRecord]]:
    await run(Plan(load, place.kafka, place.options, ledger=ledger))
    return ExpectedState(read(ledger)), await place.published()


async def settled(place: PlainlyIndexed, ledger: Path) -> ExpectedState:
    """Publish, and have everything where it belongs."""
    expected, records = await published(place, ledger)
    await place.fill(expected, records)
    await place.dead_letter(*expected.invalid)
    return expected


async def settled_but_one(
    place: PlainlyIndexed, ledger: Path, *, deleted: bool = False
) -> tuple[str, FinalEvent, bytes]:
    """The same, but for one transaction: its id, its final event, and the document it should have had."""
    expected, records = await published(place, ledger)
    key, event = next(iter((expected.deleted() if deleted else expected.live()).items()))
    await place.fill(expected, records, skip=key)
    await place.dead_letter(*expected.invalid)
    values = {(record.partition, record.offset): record.value for record in records}
    return key, event, enriched(values[event.position])


async def verified(place: PlainlyIndexed, ledger: Path, options: VerifyOptions = QUICK) -> VerifyReport:
    return await run_verify(ledger, place.kafka, place.search, options)


def found(report: VerifyReport) -> list[tuple[str, str, str]]:
    return [(finding.problem, finding.what, finding.id) for finding in report.findings]


async def test_the_topic_holds_at_each_offset_what_the_ledger_says(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    _, records = await published(place, ledger)
    entries = {(entry.partition, entry.offset): entry for entry in read(ledger)}
    assert len(entries) == len(records) > MIXED.count
    for record in records:
        entry = entries[record.partition, record.offset]
        assert (record.key.decode(), digest(record.value)) == (entry.user_id, entry.sha256)
        assert record.timestamp == entry.published


async def test_the_ledger_has_the_brokers_time_where_the_broker_stamps_the_records(
    place: PlainlyIndexed, tmp_path: Path
) -> None:
    async with admin_client(place.kafka) as client:
        await client.create_topics(
            [NewTopic(place.name, 2, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})]
        )
    ledger = tmp_path / "run.jsonl"
    _, records = await published(place, ledger, LoadOptions(count=200))
    entries = {(entry.partition, entry.offset): entry.published for entry in read(ledger)}
    assert {(record.partition, record.offset): record.timestamp for record in records} == entries


async def test_the_topic_holds_the_generated_events_in_order_for_each_user(
    place: PlainlyIndexed, tmp_path: Path
) -> None:
    _, records = await published(place, tmp_path / "run.jsonl")
    sent: dict[bytes, list[bytes | None]] = {}
    for event in generate(MIXED):
        sent.setdefault(event.key, []).append(event.value)
    held: dict[bytes, list[bytes | None]] = {}
    for record in records:
        held.setdefault(record.key, []).append(record.value)
    assert held == sent


async def test_headers_carry_the_trace_context(place: PlainlyIndexed, tmp_path: Path) -> None:
    _, records = await published(place, tmp_path / "run.jsonl")
    traced = [record for record in records if dict(record.headers).get("traceparent", b"").startswith(b"00-")]
    assert 0 < len(traced) < len(records)


async def test_the_topic_is_created_with_the_partitions_asked_for(place: PlainlyIndexed, tmp_path: Path) -> None:
    await published(place, tmp_path / "run.jsonl", LoadOptions(count=1))
    async with admin_client(place.kafka) as client:
        assert await partitions_of(client, place.name) == 3


async def test_everything_in_its_place_is_fine(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    expected = await settled(place, ledger)
    report = await verified(place, ledger, PATIENT)
    assert report.ok
    assert report.findings == ()
    assert report.bodies_compared == len(expected.live()) > 0
    assert report.tombstones == 12
    assert report.dead_letters == 12
    assert report.latency is None


async def test_of_a_tie_the_later_event_must_be_there(place: PlainlyIndexed, tmp_path: Path) -> None:
    """Both updates have the same version: only content and position show which of them the document stands for."""
    ledger = tmp_path / "run.jsonl"
    load = LoadOptions(count=20, users=5, update_ratio=1.0, tie_ratio=1.0, timestamps="seconds", scatter_ratio=0.5)
    expected, records = await published(place, ledger, load)
    await place.fill(expected, records)
    assert (await verified(place, ledger, PATIENT)).ok
    values = {(record.partition, record.offset): record for record in records}
    key, final = next(iter(expected.live().items()))
    first = min(
        (entry for entry in read(ledger) if entry.transaction_id == key and entry.kind == "updated"),
        key=lambda e: e.order,
    )
    assert (first.version, first.sha256 != final.sha256) == (final.version, True)
    record = values[first.partition, first.offset]
    position = f"{record.timestamp}:{record.partition}:{record.offset}"
    await place.put(key, final.version, positioned(enriched(record.value), record.value, position))
    (finding,) = (await verified(place, ledger)).findings
    assert (finding.problem, finding.what, finding.id) == ("stale", "document", key)
    assert "a later one with the same version" in finding.detail
    await place.put(key, final.version, enriched(record.value))
    (finding,) = (await verified(place, ledger)).findings
    assert (finding.problem, finding.what, finding.id) == ("different", "document", key)


async def test_a_missing_document_is_found(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    gone, _, _ = await settled_but_one(place, ledger)
    assert found(await verified(place, ledger)) == [("missing", "document", gone)]


async def test_a_document_the_alias_hides_is_missing(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    hidden, event, _ = await settled_but_one(place, ledger)
    await place.put(hidden, event.version, tombstone(hidden))
    report = await verified(place, ledger)
    assert found(report) == [("missing", "document", hidden)]
    assert "the alias hides it" in report.findings[0].detail


async def test_a_stale_document_is_found(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    stale, event, document = await settled_but_one(place, ledger)
    await place.put(stale, event.version - 4, document)
    report = await verified(place, ledger)
    assert found(report) == [("stale", "document", stale)]
    assert str(event.version) in report.findings[0].detail


async def test_an_extra_document_of_the_run_is_found(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    expected = await settled(place, ledger)
    (load_run,) = expected.runs
    stray = {"id": "stray", "user_id": "u", "metadata": {"load_run": load_run}}
    await place.put("stray", 8, msgspec.json.encode(stray))
    assert found(await verified(place, ledger)) == [("extra", "document", "stray")]


async def test_documents_of_other_runs_are_nobodys_business(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    await settled(place, ledger)
    other = {"id": "other", "user_id": "u", "metadata": {"load_run": "run-of-another"}}
    await place.put("other", 8, msgspec.json.encode(other))
    assert (await verified(place, ledger)).ok


async def test_a_document_newer_than_anything_acknowledged_is_extra(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    ahead, event, document = await settled_but_one(place, ledger)
    await place.put(ahead, event.version + (4 << 8), document)
    assert found(await verified(place, ledger)) == [("extra", "document", ahead)]


@pytest.mark.parametrize(
    ("sent", "stored"), [("100.50", "100.5"), ("9007199254740993", "9007199254740992"), ("12.50", '"12.50"')]
)
async def test_an_amount_is_compared_digit_for_digit(
    place: PlainlyIndexed, tmp_path: Path, sent: str, stored: str
) -> None:
    ledger = tmp_path / "run.jsonl"
    transaction = {"id": "tx-1", "user_id": "u", "amount": msgspec.Raw(sent.encode()), "metadata": {"load_run": "r"}}
    value = msgspec.json.encode({"event_type": "transaction.created", "transaction": transaction})
    event = Event(b"u", value, (), "created", "normal", "tx-1", "u", 800 << 8, None, 200_000)
    with LedgerWriter(ledger) as writer:
        await publish([event], "r", place.kafka, place.options, on_ack=writer.write)
    await place.put("tx-1", 800 << 8, msgspec.json.encode({**transaction, "amount": msgspec.Raw(stored.encode())}))
    report = await verified(place, ledger)
    assert found(report) == [("different", "document", "tx-1")]
    assert report.findings[0].detail == f"amount: sent {sent}, found {stored}"


async def test_a_lost_field_is_found(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    poor, event, document = await settled_but_one(place, ledger)
    await place.put(poor, event.version, document.replace(b'"currency"', b'"coin"'))
    (finding,) = (await verified(place, ledger)).findings
    assert (finding.problem, finding.id) == ("different", poor)
    assert "currency: sent " in finding.detail
    assert "found nothing" in finding.detail


async def test_a_missing_tombstone_is_found(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    gone, _, _ = await settled_but_one(place, ledger, deleted=True)
    assert found(await verified(place, ledger)) == [("missing", "tombstone", gone)]


async def test_a_deleted_transaction_that_is_still_shown_is_stale(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    shown, event, document = await settled_but_one(place, ledger, deleted=True)
    await place.put(shown, event.version - 2, document)
    assert found(await verified(place, ledger)) == [("stale", "document", shown)]


async def test_a_document_in_a_tombstones_place_is_found(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    shown, event, document = await settled_but_one(place, ledger, deleted=True)
    await place.put(shown, event.version, document)
    assert found(await verified(place, ledger)) == [("stale", "tombstone", shown)]


async def test_a_tombstone_that_does_not_say_so_is_different(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    bare, event, _ = await settled_but_one(place, ledger, deleted=True)
    await place.put(bare, event.version, msgspec.json.encode({"id": bare, "user_id": "u"}))
    assert found(await verified(place, ledger)) == [("different", "tombstone", bare)]


async def test_tombstones_that_the_alias_shows_are_stale(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    expected = await settled(place, ledger)
    alias = {"index": place.index, "alias": place.name}
    await place.es.indices.update_aliases(actions=[{"remove": alias}, {"add": alias}])
    assert set(found(await verified(place, ledger))) == {("stale", "tombstone", key) for key in expected.deleted()}


async def test_an_invalid_event_without_a_dead_letter_is_missing(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    expected, records = await published(place, ledger)
    await place.fill(expected, records)
    lost, *others = expected.invalid
    await place.dead_letter(*others)
    report = await verified(place, ledger)
    assert found(report) == [("missing", "dead letter", f"{lost[0]}:{lost[1]}")]
    assert expected.invalid[lost] in report.findings[0].detail


async def test_a_dead_letter_of_a_valid_event_is_extra(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    expected = await settled(place, ledger)
    position = next(iter(expected.final.values())).position
    await place.dead_letter(position)
    report = await verified(place, ledger)
    assert found(report) == [("extra", "dead letter", f"{position[0]}:{position[1]}")]
    assert "dead-letter-stage=validate" in report.findings[0].detail


async def test_verifying_waits_for_what_is_on_its_way_and_times_it(place: PlainlyIndexed, tmp_path: Path) -> None:
    load = LoadOptions(count=40, update_ratio=0.5, delete_ratio=0.2)
    ledger = tmp_path / "run.jsonl"

    async def index_later() -> None:
        while not ledger.exists() or len(list(read(ledger))) < 40 + 20 + 8:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        await place.fill(ExpectedState(read(ledger)), await place.published())

    indexing = asyncio.create_task(index_later())
    plan = Plan(load, place.kafka, place.options, ledger=ledger, search=place.search, verify=PATIENT)
    report = (await run(plan)).report
    await indexing
    assert report is not None
    assert report.ok
    assert report.latency is not None
    assert report.latency.transactions == 40
    assert 0.5 < report.latency.p50 <= report.latency.p99 < 20


async def test_an_older_run_counts_again_after_it_was_published_twice(place: PlainlyIndexed, tmp_path: Path) -> None:
    """The same events at new offsets are duplicates: they change nothing."""
    ledger, again = tmp_path / "run.jsonl", tmp_path / "again.jsonl"
    await settled(place, ledger)
    await run(Plan(MIXED, place.kafka, place.options, ledger=again))
    await place.dead_letter(*ExpectedState(read(again)).invalid)
    assert (await verified(place, ledger)).ok
    assert (await verified(place, again)).ok


async def test_a_killed_run_leaves_a_ledger_that_is_true(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    options = ["--kafka-servers", place.servers.kafka, "--topic", place.name, "--users", "20", "--update-ratio", "0.5"]
    command = [sys.executable, "-m", "activity_loadgen", *options, "--ledger", str(ledger), "--duration", "60"]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not ledger.exists() or ledger.stat().st_size < 500_000:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
    finally:
        process.kill()
        await process.wait()
    values = {(record.partition, record.offset): record.value for record in await place.published()}
    entries = list(read(ledger))
    assert len(entries) > 500
    assert all(digest(values[entry.partition, entry.offset]) == entry.sha256 for entry in entries)


async def test_the_guides_command_publishes_for_the_guides_user(place: PlainlyIndexed) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "publish_test_data_to_kafka.py", "--count", "50", "--user-id", "user_456"]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": place.servers.kafka, "KAFKA_TRANSACTIONS_TOPIC": place.name}
    process = await asyncio.create_subprocess_exec(
        *command, "--update-ratio", "0.2", cwd=root, env=environment, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    records = await place.published()
    assert process.returncode == 0
    assert b"60" in output
    assert {record.key for record in records} == {b"user_456"}
    assert len(records) == 60


async def test_a_difference_found_by_the_command_is_its_exit_code(place: PlainlyIndexed, tmp_path: Path) -> None:
    ledger = tmp_path / "run.jsonl"
    await settled(place, ledger)
    where = [
        "--kafka-servers",
        place.servers.kafka,
        "--elasticsearch-url",
        place.servers.elasticsearch_url,
        "--index",
        place.name,
    ]
    command = [sys.executable, "-m", "activity_loadgen", "verify", "--ledger", str(ledger), *where]

    async def outcome() -> tuple[int | None, dict[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            *command, "--verify-timeout", "1", "--json", stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        return process.returncode, json.loads(output)

    code, report = await outcome()
    assert (code, report["ok"]) == (0, True)
    await place.remove(next(iter(ExpectedState(read(ledger)).live())))
    code, report = await outcome()
    assert (code, report["missing"]) == (6, {"documents": 1})


async def test_kafka_unavailable_is_reported_in_time() -> None:
    said: list[str] = []
    unavailable = KafkaConnection("127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(KafkaUnavailableError, match="gave up after 1 s"):
        await publish([], "r", unavailable, PublishOptions(wait=1), say=said.append)
    assert time.monotonic() - started < 10
    assert said
    assert said[0].startswith("waiting for Kafka at 127.0.0.1:1 (up to 1 s)")


async def test_keys_lead_to_the_partitions_that_kafkas_clients_choose(place: PlainlyIndexed, tmp_path: Path) -> None:
    choose = DefaultPartitioner()
    _, records = await published(place, tmp_path / "run.jsonl", replace(MIXED, scatter_ratio=0.3))
    assert {record.partition for record in records} == {0, 1, 2}
    assert all(record.partition == choose(record.key, [0, 1, 2], []) for record in records)


async def test_an_event_does_not_wait_for_the_next_one(place: PlainlyIndexed) -> None:
    """At a low rate, too, an event is acknowledged long before the next one is due."""
    stop = asyncio.Event()
    load = LoadOptions(count=None, rate=0.01)
    options = PublishOptions(topic=place.name, rate=0.01, wait=20)
    async with asyncio.timeout(50):
        counts = await publish(generate(load), load.run, place.kafka, options, on_ack=lambda _: stop.set(), stop=stop)
    assert counts.sent == counts.acknowledged == 1


async def test_the_largest_events_are_taken(place: PlainlyIndexed) -> None:
    load = LoadOptions(count=6, users=3, payload_bytes=MAX_PAYLOAD_BYTES)
    counts = await publish(generate(load), load.run, place.kafka, place.options)
    assert counts.acknowledged == len(await place.published()) == 7
    assert counts.bytes > 6 * MAX_PAYLOAD_BYTES


async def test_a_record_that_kafka_refuses_ends_the_run(place: PlainlyIndexed) -> None:
    event = Event(b"u", os.urandom(2_000_000), (), "created", "normal", "tx-1", "u", 800 << 8, None, 200_000)
    with pytest.raises(PublishError, match=r"Kafka refused an event: .*; 0 events acknowledged"):
        await publish([event, event], "r", place.kafka, place.options)


async def test_dead_letters_with_header_names_that_are_not_utf8_are_counted(
    place: PlainlyIndexed, tmp_path: Path
) -> None:
    ledger = tmp_path / "run.jsonl"
    expected, records = await published(place, ledger)
    await place.fill(expected, records)
    odd, *others = expected.invalid
    await place.dead_letter(odd, headers=[(HeaderName.of(b"caf\xe9"), b"1")])
    await place.dead_letter(*others)
    assert (await verified(place, ledger, PATIENT)).ok


async def test_stopping_early_acknowledges_what_was_sent(place: PlainlyIndexed) -> None:
    stop = asyncio.Event()
    entries: list[Entry] = []

    def on_ack(entry: Entry) -> None:
        entries.append(entry)
        stop.set()

    load = LoadOptions(count=None)
    counts = await publish(generate(load), load.run, place.kafka, place.options, on_ack=on_ack, stop=stop)
    assert counts.sent == counts.acknowledged == len(entries) == len(await place.published())


async def test_a_rate_is_kept(place: PlainlyIndexed) -> None:
    load = LoadOptions(count=None, rate=200)
    options = PublishOptions(topic=place.name, rate=200, duration=2)
    counts = await publish(generate(load), load.run, place.kafka, options)
    assert 380 <= counts.acknowledged <= 402
