"""`dead-letters replay` on real servers: each once, none lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from replay_support import Replay, bury, letters, told
from support import Indexer, Place, event

from activity_indexer.errors import ValidationError

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
Send = Callable[..., Replay]


@pytest.fixture
def replay(place: Place, tmp_path: Path) -> Iterator[Send]:
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


async def test_what_matches_goes_back_once_with_its_key_its_bytes_and_headers_that_tell_its_way(
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
        found = told(record)
        assert (found["replay-id"], found["replay-count"], found["replay-topic"]) == ("first", "1", place.name)
        assert record.partition == int(found["replay-partition"])
        assert not [name for name in found if name.startswith("dead-letter-")]
    again, repeated = await replay("--id", "first", "--error", "missing_field", "--no-wait").ended()
    assert (again, repeated["sent"]) == (0, 5)
    assert len(await place.records(place.name)) == 5
