"""`activity-indexer dead-letters`: list, show, export, import and watch, on real servers."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from fixtures.dead_letters import reported
from fixtures.events import UPDATED, encoded, event, moment
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, environment
from fixtures.servers.processes import Forked
from fixtures.waiting import eventually

from activity_indexer.adapters.kafka.dead_letters.reader import CLOCK_MARGIN, dead_letter_reader
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.positions import Partition
from activity_indexer.settings import KafkaSettings

pytestmark = pytest.mark.integration
LISTED = int(os.environ.get("DEAD_LETTERS_LISTED", "100000"))
MEMORY = 170 * 1024
"""KiB that `list` may take at its peak, however many dead letters there are; its imports take some 80 MiB of these."""

TWICE = b'"metadata": {}', b'"metadata": {"k": 1, "k": 2}'
Start = Callable[..., Indexer]
Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
async def begin(place: Place, tmp_path: Path) -> AsyncIterator[Callable[..., tuple[Any, Path]]]:
    """Starts `activity-indexer dead-letters …` on the test's place; gives the process, and what it prints."""
    started: list[Any] = []

    def starting(*arguments: str, **variables: str) -> tuple[Any, Path]:
        log = tmp_path / f"command-{len(started)}"
        log.touch()
        process = Forked(environment(place, variables), log, ["dead-letters", *arguments])
        started.append(process)
        return process, log

    yield starting
    for process in started:
        if process.poll() is None:
            process.send_signal(9)


@pytest.fixture
def run(begin: Callable[..., tuple[Any, Path]]) -> Run:
    """Runs a command to its end; gives the exit code and what it printed."""

    async def running(*arguments: str, **variables: str) -> tuple[int, str]:
        process, log = begin(*arguments, **variables)
        code = await asyncio.to_thread(process.wait, 120)
        return code, log.read_text()

    return running


async def bury(
    place: Place, values: Sequence[Any], partition: int = 0, topic: str | None = None, **more: Any
) -> list[Any]:
    """Write dead letters by hand; of the first, the original offset is 100."""
    topic = topic or place.dead_letter_topic
    await place.admin.create_topics([NewTopic(topic, place.partitions, 1)])
    letters = []
    for number, value in enumerate(values):
        headers = reported(topic=place.name, offset=str(100 + number), **more.get("reported", {}))
        sending = more.get("producer", place.producer).send(
            topic, encoded(value), key=b"user_1", headers=headers, partition=partition, timestamp_ms=more.get("written")
        )
        letters.append(await (await sending))
    return letters


async def listed(run: Run, *arguments: str, **variables: str) -> dict[str, Any]:
    code, text = await run("list", "--json", *arguments, **variables)
    assert code == 0, text
    found: dict[str, Any] = json.loads(text)
    return found


async def shown(run: Run, *arguments: str, **variables: str) -> dict[str, Any]:
    code, text = await run("show", "--json", *arguments, **variables)
    assert code == 0, text
    found: dict[str, Any] = json.loads(text)
    return found


async def test_real_dead_letters_are_listed_by_cause_and_each_is_explained(
    place: Place, indexer: Start, run: Run
) -> None:
    process = await indexer().ready()
    lacking = event("lacks")
    del lacking["transaction"]["currency"]
    twice = encoded(event("twice", UPDATED, moment(5), metadata={})).replace(*TWICE)
    await place.publish([b'{"event_type": ', lacking, lacking, twice])
    assert await process.settled(4) == {"dead_lettered": 4}

    groups = {group["error"]: group for group in (await listed(run))["groups"]}
    assert {error: group["count"] for error, group in groups.items()} == {
        "invalid_json": 1,
        "missing_field": 2,
        "document_parsing_exception": 1,
    }
    assert (await shown(run, groups["invalid_json"]["example"]))["location"]["column"] == 16
    missing = await shown(run, "--error", "missing_field")
    assert (missing["place"], missing["transaction"]) == (groups["missing_field"]["example"], "lacks")
    assert missing["location"]["path"] == "$.transaction.currency"
    assert "would change nothing: missing_field" in missing["document"]["outlook"]

    parsing = await shown(run, "--transaction", "twice")
    assert parsing["location"]["byte"] == twice.rindex(b'"k"')
    assert (parsing["document"]["state"], parsing["document"]["replayChanges"]) == ("absent", True)
    await place.publish([event("twice", UPDATED, moment(6))])
    await process.settled(5)
    assert (await shown(run, "--message-id", parsing["messageId"]))["document"]["state"] == "newer"
    code, raw = await run("show", groups["document_parsing_exception"]["example"], "--raw")
    assert (code, raw.encode()) == (0, twice)


@pytest.mark.parametrize("columns", [80, 120])
async def test_what_users_see_fits_their_terminal(place: Place, run: Run, columns: int) -> None:
    await bury(place, [event("t", metadata={"note": "x" * 5000})] * 3, reported={"stage": "index", "error": "e" * 60})
    await bury(place, [b"\x1b[2J{"], reported={"stage": "decode", "error": "invalid_json", "message": "\x1b[2J"})
    code, table = await run("list", COLUMNS=str(columns))
    assert code == 0
    assert max(len(line) for line in table.splitlines()) <= columns
    assert re.search(r"^ +3 +index", table, re.MULTILINE)
    code, page = await run("show", "0:0", COLUMNS=str(columns))
    assert code == 0
    assert "… 5,000 characters" in page
    assert "\x1b[2J" not in (await run("show", "0:3"))[1]


async def test_filters_choose_what_is_counted(place: Place, run: Run) -> None:
    await bury(place, [event("a"), event("b", user_id="u2"), event("c")])
    await bury(
        place, [event("d", UPDATED)], partition=1, reported={"stage": "index", "last_failure": "2024-06-01T00:00:00Z"}
    )
    assert (await listed(run, "--user", "u2"))["matched"] == 1
    assert (await listed(run, "--stage", "index", "--event-type", UPDATED))["matched"] == 1
    assert (await listed(run, "--offsets", "0:1-2", "--partition", "1"))["matched"] == 3
    assert (await listed(run, "--until", "2024-06-01T00:00:00Z"))["matched"] == 3
    by_user = (await listed(run, "--by", "user", "--top", "1"))["groups"]
    assert [(group["key"], group["count"]) for group in by_user] == [("user_1", 3)]


async def test_only_what_is_committed_is_seen(place: Place, run: Run) -> None:
    await bury(place, [event("a")])
    for commits in (True, False):
        producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka, transactional_id=f"{place.name}-{commits}")
        await producer.start()
        await producer.begin_transaction()
        await bury(place, [event("b")], producer=producer)
        await (producer.commit_transaction() if commits else producer.abort_transaction())
        await producer.stop()
    assert (await listed(run))["matched"] == 2


async def test_a_search_by_time_begins_where_it_must(place: Place) -> None:
    now = int(time.time() * 1000)
    await bury(place, [event("old")] * 5, written=now - CLOCK_MARGIN - 60_000)
    await bury(place, [event("new")] * 2, written=now)
    settings = KafkaSettings(bootstrap_servers=place.servers.kafka)
    async with dead_letter_reader(settings) as reader:
        spans = await reader.spans([place.dead_letter_topic], Selection(since=now * 1000))
        read = [letter.offset async for batch in reader.read(spans) for letter in batch]
    assert spans[Partition(place.dead_letter_topic, 0)].start == 5
    assert read == [5, 6]


async def test_what_comes_after_the_start_is_not_read(place: Place) -> None:
    await bury(place, [event("a")] * 3)
    async with dead_letter_reader(KafkaSettings(bootstrap_servers=place.servers.kafka)) as reader:
        spans = await reader.spans([place.dead_letter_topic])
        await bury(place, [event("b")] * 3)
        reported_at_the_end: list[Any] = []
        read = [letter async for batch in reader.read(spans, reported_at_the_end.append) for letter in batch]
    assert [letter.facts.transaction_id for letter in read] == ["a"] * 3
    assert (reported_at_the_end[-1].passed, reported_at_the_end[-1].total, reported_at_the_end[-1].records) == (3, 3, 3)


async def test_one_reader_looks_for_some_and_then_reads_all(place: Place) -> None:
    await bury(place, [event("a")] * 3)
    await bury(place, [event("b")], reported={"replay_from": "t:0:1:2"}, partition=1)
    async with dead_letter_reader(KafkaSettings(bootstrap_servers=place.servers.kafka)) as reader:
        spans = await reader.spans([place.dead_letter_topic])
        found = [
            [letter.partition async for batch in reader.read(spans, holding=holding) for letter in batch]
            for holding in (b"replay-", b"", b"replay-")
        ]
    assert [sorted(each) for each in found] == [[1], [0, 0, 0, 1], [1]]


async def test_without_dead_letters_all_commands_say_so(place: Place, run: Run) -> None:
    assert await run("list") == (0, f"No dead letters in {place.dead_letter_topic}.\n")
    assert (await run("show", "0:0"))[0] == 3
    assert (await run("export"))[0] == 3


async def test_show_says_the_rest_when_elasticsearch_is_unavailable(place: Place, run: Run) -> None:
    await bury(place, [event("a")])
    found = await shown(run, "0:0", ELASTICSEARCH_URL="http://127.0.0.1:1")
    assert found["document"]["outlook"].startswith("its state is unknown: Elasticsearch")
    assert found["transaction"] == "a"


async def test_a_broker_that_is_unavailable_is_reported_in_one_line(run: Run) -> None:
    code, text = await run("list", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", KAFKA_REQUEST_TIMEOUT="2")
    assert code == 1
    assert "Kafka: " in text
    assert "Traceback" not in text


async def test_parked_ones_are_looked_at_apart(place: Place, run: Run) -> None:
    await bury(place, [event("a")], topic=f"{place.dead_letter_topic}.parked")
    assert (await listed(run, "--parked"))["matched"] == 1
    assert (await listed(run))["matched"] == 0


async def test_exported_dead_letters_come_back_after_they_are_lost_and_never_twice(
    place: Place, run: Run, tmp_path: Path
) -> None:
    await bury(place, [event("a"), b"\xff\x00", event("c")])
    before = await place.dead_letters()
    file = tmp_path / "letters.jsonl"
    assert (await run("export", "--output", str(file)))[0] == 0
    code, text = await run("import", str(file))
    assert (code, "line 1: this dead letter is there already, at 0:0" in text) == (4, True)

    await place.admin.delete_topics([place.dead_letter_topic])
    await eventually(lambda: place.partition_count(place.dead_letter_topic), 0)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(file.read_text() + '{"topic": 1}\n')
    code, text = await run("import", str(broken))
    assert (code, "line 4: expected the fields" in text) == (4, True)
    assert (await run("import", str(file), "--dry-run"))[0] == 0
    assert await place.dead_letters() == []

    _, text = await run("import", str(file), "--json")  # the log is there too: a new topic has no leader at first
    assert json.loads(text.splitlines()[-1])["imported"] == 3
    # The broker answers a commit before its end mark is in each partition.
    after = await eventually(place.dead_letters, lambda found: len(found) == 3)
    assert [(each.key, each.value, each.headers) for each in sorted(after, key=original)] == [
        (each.key, each.value, each.headers) for each in before
    ]
    assert (await run("import", str(file)))[0] == 4
    assert (await run("import", str(file), "--force"))[0] == 0
    assert len(await eventually(place.dead_letters, lambda found: len(found) == 6)) == 6


def original(record: Any) -> bytes:
    """The offset that a dead letter's event came from."""
    offset: bytes = dict(record.headers)["dead-letter-offset"]
    return offset


async def test_watch_shows_what_comes_and_sums_up(place: Place, begin: Callable[..., tuple[Any, Path]]) -> None:
    """It waits for a topic that does not exist, too."""
    process, log = begin("watch", "--json", "--stage", "validate")

    async def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    await eventually(lines, lambda found: bool(found) and found[0]["kind"] == "watching")
    await bury(place, [event("a"), event("b")])
    await bury(place, [event("c")], reported={"stage": "index"})
    await bury(place, [event("d")], partition=1)

    seen = await eventually(lines, lambda found: len(found) >= 4)
    assert sorted(line["transaction"] for line in seen[1:]) == ["a", "b", "d"]
    process.send_signal(2)
    assert await asyncio.to_thread(process.wait, 60) == 0
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["kind"], last["matched"], last["groups"][0]["count"]) == ("summary", 3, 3)


async def test_a_dead_letter_is_one_line_on_a_terminal(place: Place, run: Run) -> None:
    await bury(place, [event("a\nb"), event("c")])
    code, text = await run("watch", "--since", "2024-01-01T00:00:00Z", "--max", "2")
    assert code == 0
    assert next(line for line in text.splitlines() if line.startswith("2024-05-01 12:00:01 0:0")).endswith(
        "transaction a\\u000ab user user_1"
    )
    assert "2 dead letters in " in text
    assert '"level":"error"' not in text


async def fill(place: Place, number: int) -> None:
    """This many small dead letters, in large batches."""
    await place.admin.create_topics([NewTopic(place.dead_letter_topic, place.partitions, 1)])
    producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka, max_batch_size=900_000)
    await producer.start()
    batch = producer.create_batch()
    pending = []
    for count in range(number):
        value = b'{"event_type":"transaction.created","transaction":{"id":"t-%d","user_id":"u"}}' % count
        headers = reported(offset=str(count), error=f"error_{count % 5}")
        while batch.append(key=b"u", value=value, timestamp=None, headers=headers) is None:
            pending.append(await producer.send_batch(batch, place.dead_letter_topic, partition=len(pending) % 3))
            batch = producer.create_batch()
    pending.append(await producer.send_batch(batch, place.dead_letter_topic, partition=0))
    await asyncio.gather(*pending)
    await producer.stop()


def peak_memory(process: int) -> int:
    """KiB that a process has held at once at most; 0 when it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) if found else 0


async def test_any_number_of_dead_letters_is_listed_in_bounded_memory(place: Place) -> None:
    """By a key that all of them have apart, too: 1,000,000 with DEAD_LETTERS_LISTED=1000000."""
    await fill(place, LISTED)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "activity_indexer", "dead-letters", "list", "--by", "transaction", "--json"),
        env=environment(place, {}),
        stdout=asyncio.subprocess.PIPE,
    )
    output = asyncio.create_task(process.communicate())
    peak = 0
    while not output.done():
        peak = max(peak, peak_memory(process.pid))
        await asyncio.wait([output], timeout=0.2)
    reported_last = json.loads((await output)[0])
    assert (reported_last["matched"], reported_last["others"]["count"]) == (LISTED, LISTED - 20)
    assert 10 * 1024 < peak < MEMORY, f"{peak} KiB"
