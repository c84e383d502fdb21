"""`dead-letters replay` on real servers: each once, none lost."""

import asyncio
import json
import random
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fixtures.events import DELETED, UPDATED, encoded, event, moment
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.servers.replays import Replay, bury, evict, letters, planned, reported
from fixtures.waiting import eventually

from activity_indexer.errors import ValidationError

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
Send = Callable[..., Replay]
TWICE = b'"metadata": {}', b'"metadata": {"k": 1, "k": 2}'


@pytest.fixture
async def replay(place: Place, tmp_path: Path) -> AsyncIterator[Send]:
    """Starts replays on the test's own place; all are ended with it."""
    started: list[Replay] = []

    def start(*arguments: str, **variables: str) -> Replay:
        found = Replay(place, tmp_path / f"replay-{len(started)}.log", *arguments, **variables)
        started.append(found)
        return found

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
    with suppress(Exception):
        await place.admin.delete_topics([f"{place.dead_letter_topic}.parked"])


def bad(identifier: str, second: int = 0, **fields: object) -> bytes:
    """An event that only Elasticsearch refuses: a key comes twice."""
    return encoded(event(identifier, timestamp=moment(second), metadata={}, **fields)).replace(*TWICE)


def without(name: str, value: dict[str, object]) -> dict[str, object]:
    """The event without a field of its transaction."""
    return {**value, "transaction": {key: each for key, each in value["transaction"].items() if key != name}}


async def test_what_matches_goes_back_once_with_its_key_its_bytes_and_headers_that_say_its_way(
    place: Place, replay: Send
) -> None:
    headers = [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("bytes", b"\x00\xff")]
    records = letters(place, [event(f"t{number}") for number in range(5)], headers=headers)
    await bury(place, [*records, *letters(place, [b"{"], ValidationError("other", "no"))])
    code, result = await replay("--id", "first", "--error", "missing_field", "--no-wait").ended()
    assert (code, result["outcome"], result["matched"], result["sent"]) == (0, "done", 5, 5)
    sent = await place.records(place.name)
    assert Counter(record.value for record in sent) == Counter(record.value for record in records)
    for record in sent:
        assert record.key == b"user_1"
        assert list(record.headers[:2]) == headers
        found = reported(record)
        assert (found["replay-id"], found["replay-count"], found["replay-topic"]) == ("first", "1", place.name)
        assert record.partition == int(found["replay-partition"])
        assert not [name for name in found if name.startswith("dead-letter-")]
    again, repeated = await replay("--id", "first", "--error", "missing_field", "--no-wait").ended()
    assert (again, repeated["sent"]) == (0, 5)
    assert len(await place.records(place.name)) == 5


async def test_a_replay_that_is_killed_anywhere_goes_on_and_loses_nothing_and_sends_nothing_twice(
    place: Place, replay: Send
) -> None:
    await bury(place, letters(place, [event(f"t{number}") for number in range(10_000)]))
    chance = random.Random(5)  # noqa: S311 - where it is killed is no secret
    for _ in range(3):
        process = replay("--id", "killed", "--no-wait", "--include-stale")
        await planned(process)
        await asyncio.sleep(chance.uniform(0.0, 1.5))
        process.kill()
        await evict(place)
    code, result = await replay("--id", "killed", "--no-wait", "--include-stale").ended()
    assert (code, result["outcome"], result["sent"]) == (0, "done", 10_000)
    places = Counter(reported(record)["replay-offset"] for record in await place.records(place.name))
    assert len(places) == 10_000
    assert set(places.values()) == {1}


async def test_a_stopped_replay_ends_after_its_transaction_and_goes_on_as_it_was_begun_or_not_at_all(
    place: Place, replay: Send, tmp_path: Path
) -> None:
    await bury(place, letters(place, [event(f"t{number}") for number in range(120)]))
    options = ("--id", "slow", "--error", "missing_field", "--rate", "40", "--no-wait")
    process = replay(*options)
    await eventually(_sent(process), lambda sent: sent > 0)
    process.terminate()
    code, result = await process.ended()
    assert (code, result["outcome"]) == (5, "interrupted")
    assert 0 < result["sent"] < 120
    assert len(await place.records(place.name)) == result["sent"]

    patch = tmp_path / "patch.json"
    patch.write_text('{"transaction": {"currency": "EUR"}}')
    for other in (["--stage", "index"], ["--error", "missing_field", "--patch", str(patch)], []):
        code, refused = await replay("--id", "slow", "--no-wait", *other).ended()
        assert (code, refused["outcome"]) == (4, "refused")
        assert "begun with another selection" in refused["message"]
    code, result = await replay("--id", "slow", "--error", "missing_field", "--no-wait").ended()
    assert (code, result["sent"]) == (0, 120)
    places = Counter(reported(record)["replay-offset"] for record in await place.records(place.name))
    assert (len(places), set(places.values())) == (120, {1})


def _sent(process: Replay) -> Callable[[], object]:
    async def sent() -> int:
        return max((line.get("sent", 0) for line in process.lines("progress")), default=0)

    return sent


async def test_only_one_replay_runs_at_a_time_and_what_comes_meanwhile_is_left_for_the_next(
    place: Place, replay: Send
) -> None:
    await bury(place, letters(place, [event(f"t{number}") for number in range(90)]))
    first = replay("--id", "one", "--rate", "20", "--no-wait")
    await eventually(_sent(first), lambda sent: sent > 0)
    await bury(place, letters(place, [event(f"late{number}") for number in range(30)]))
    code, refused = await replay("--id", "two", "--no-wait").ended()
    assert (code, refused["outcome"]) == (4, "refused")
    assert "replay one runs since 20" in refused["message"]
    assert f"--group {place.group}.replay.{place.dead_letter_topic}" in refused["message"]
    code, result = await first.ended()
    assert (code, result["sent"]) == (0, 90)
    assert not [record for record in await place.records(place.name) if b"late" in record.value]


async def test_of_two_that_begin_at_once_one_is_refused(place: Place, replay: Send) -> None:
    await bury(place, letters(place, [event(f"t{number}") for number in range(60)]))
    both = [replay("--id", name, "--rate", "20", "--no-wait") for name in ("left", "right")]
    ends = [await each.ended() for each in both]
    assert sorted(code for code, _ in ends) == [0, 4]
    winner = next(result["replay"] for code, result in ends if code == 0)
    sent = [reported(record)["replay-id"] for record in await place.records(place.name)]
    assert Counter(sent)[winner] == 60


async def test_a_whole_class_of_errors_is_corrected_indexed_and_reported(
    place: Place, indexer: Start, replay: Send, tmp_path: Path
) -> None:
    process = await indexer().ready()
    events = [encoded(without("currency", event(f"t{number}", amount=7))) for number in range(30)]
    originals = [value.replace(b'"amount": 7', b'"amount": 12.50') for value in events]
    await place.publish([*originals, event("good"), "no event"])
    await process.settled(32)
    patch = tmp_path / "patch.json"
    patch.write_text('{"transaction": {"currency": "EUR", "fee": 1.10}}')

    code, plan = await replay("--id", "fix", "--error", "missing_field", "--patch", str(patch), "--dry-run").ended()
    assert (code, plan["dryRun"], plan["matched"], plan["sent"]) == (0, True, 30, 0)
    assert plan["causes"] == [{"stage": "validate", "error": "missing_field", "matched": 30}]
    options = ("--error", "missing_field", "--patch", str(patch), "--up-to", plan["upTo"])
    code, result = await replay("--id", "fix", *options).ended()
    assert (code, result["sent"]) == (0, 30)
    assert result["report"] == {"indexed": 30, "stale": 0, "deadLettered": 0, "unknown": 0, "errors": {}}
    documents = await place.documents()
    assert {documents[f"t{number}"]["currency"] for number in range(30)} == {"EUR"}
    body = await place.raw_source("t3")
    assert '"amount": 12.50' in body
    assert '"fee": 1.10' in body
    sent = [record for record in await place.records(place.name) if "replay-id" in reported(record)]
    assert {zlib.decompress(dict(record.headers)["replay-original"]) for record in sent} == set(originals)
    assert json.loads(reported(sent[0])["replay-history"])[0]["corrected"] is True

    code, result = await replay("--patch", str(patch)).ended()
    assert (code, result["outcome"]) == (4, "refused")
    assert "1 would stay invalid" in result["message"]
    code, result = await replay("--patch", str(patch), "--skip-invalid").ended()
    assert (code, result["sent"], result["stale"], result["refused"]) == (0, 0, 30, 1)


async def test_poison_comes_back_is_sent_no_more_than_allowed_and_then_parked_once(
    place: Place, indexer: Start, replay: Send
) -> None:
    """What failed is not taken for a duplicate when it comes again, though its message id is the same."""
    process = await indexer().ready()
    await place.publish([bad("poison")])
    await process.settled(1)
    for number in (1, 2):
        code, result = await replay("--id", f"r{number}", "--max-replays", "2").ended()
        assert (code, result["sent"], result["parked"]) == (0, 1, 0)
        assert result["report"]["deadLettered"] == 1
        assert sum(result["report"]["errors"].values()) == 1
        (last,) = [
            letter for letter in await place.dead_letters() if reported(letter).get("replay-count") == str(number)
        ]
    assert reported(last)["replay-offset"] == "0"
    assert reported(last)["replay-first-failure"] == reported(last)["dead-letter-first-failure"]
    assert [stay["replay"] for stay in json.loads(reported(last)["replay-history"])] == ["r1", "r2"]

    code, result = await replay("--id", "r3", "--max-replays", "2").ended()
    assert (code, result["sent"], result["parked"]) == (0, 0, 1)
    code, result = await replay("--id", "r4", "--max-replays", "2").ended()
    assert (code, result["outcome"]) == (3, "nothing")
    (parked,) = await place.records(f"{place.dead_letter_topic}.parked")
    assert (parked.value, reported(parked)["replay-count"]) == (bad("poison"), "2")
    assert reported(parked)["dead-letter-stage"] == "index"
    code, result = await replay("--include-parked", "--max-replays", "2").ended()
    assert (code, result["sent"], result["parked"], result["report"]["deadLettered"]) == (0, 1, 0, 1)


async def test_a_stale_event_never_undoes_a_newer_document_and_never_brings_a_deleted_one_back(
    place: Place, indexer: Start, replay: Send, tmp_path: Path
) -> None:
    process = await indexer().ready()
    await place.publish([bad("newer"), bad("deleted"), bad("alone")])
    await process.settled(3)
    await place.publish([event("newer", UPDATED, moment(9), status="refunded"), event("deleted", DELETED, moment(9))])
    await process.settled(5)
    patch = tmp_path / "patch.json"
    patch.write_text("{}")  # an object that is written again has each key once
    code, result = await replay("--patch", str(patch)).ended()
    assert (code, result["sent"], result["stale"]) == (0, 1, 2)
    assert result["report"]["indexed"] == 1
    code, result = await replay("--patch", str(patch), "--include-stale").ended()
    assert (code, result["sent"]) == (0, 3)
    assert (result["report"]["indexed"], result["report"]["stale"]) == (1, 2)
    documents = await place.documents()
    assert documents.keys() == {"newer", "alone"}
    assert documents["newer"]["status"] == "refunded"


async def test_limits_other_topics_and_a_result_file(place: Place, replay: Send, tmp_path: Path) -> None:
    await bury(place, letters(place, [event(f"t{number}") for number in range(6)]))
    await bury(place, letters(place, [event(f"o{number}") for number in range(2)], topic="elsewhere"))
    file = tmp_path / "result.json"
    code, result = await replay("--id", "few", "--max", "4", "--no-wait", "--result-file", str(file)).ended()
    assert (code, result["outcome"], result["sent"]) == (0, "done", 4)
    assert json.loads(file.read_text()) == result
    code, result = await replay("--id", "all", "--no-wait").ended()
    assert (result["sent"], result["refused"]) == (6, 2)
    code, result = await replay("--to-topic", place.name, "--no-wait", "--transaction", "o1").ended()
    assert (code, result["sent"]) == (0, 1)
    assert len(await place.records(place.name)) == 11
    code, result = await replay("--no-wait", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1").ended()
    assert (code, result["outcome"]) == (1, "failed")
