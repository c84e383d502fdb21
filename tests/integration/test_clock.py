"""An indexer whose wall clock is hours off does its work all the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from chaos.clock import Clock
from fixtures.events import DELETED, event, moment
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
Start = Callable[[float], Indexer]
HOURS = 3 * 3600.0


@pytest.fixture
def start(place: Place, tmp_path: Path) -> Iterator[Start]:
    """Starts an indexer with a clock that is this many seconds off."""
    started: list[Indexer] = []

    def start_with(offset: float) -> Indexer:
        clock = Clock(tmp_path / "clock")
        clock.move(offset)
        started.append(Indexer(place, tmp_path / "log", {}, clock.command))
        return started[-1]

    yield start_with
    for process in started:
        process.end()


@pytest.mark.parametrize("offset", [-HOURS, HOURS], ids=["behind", "ahead"])
async def test_events_are_indexed_and_bad_ones_dead_lettered_whatever_the_clock_says(
    place: Place, start: Start, offset: float
) -> None:
    process = await start(offset).ready()
    await place.publish([event("a"), b"no JSON", event("b"), event("b", DELETED, moment(5))])
    assert (await process.settled(4))["dead_lettered"] == 1
    assert (await place.documents()).keys() == {"a"}
    (letter,) = await place.dead_letters()
    assert letter.value == b"no JSON"
    assert process.logged("dead_letters.blocked") == []


async def test_a_dead_letter_topic_that_goes_by_the_indexers_clock_is_waited_for_with_advice(
    place: Place, start: Start
) -> None:
    await place.admin.create_topics([NewTopic(place.dead_letter_topic, 1, 1)])
    process = await start(HOURS).ready()
    await place.publish([event("a"), b"no JSON"])
    reasons = await eventually(process.reasons, lambda found: "LogAppendTime" in found)
    assert reasons.startswith("503")
    assert "set the clock right" in reasons
    assert await place.dead_letters() == []
    fixed = {"message.timestamp.type": "LogAppendTime"}
    await place.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, place.dead_letter_topic, fixed)])
    assert await process.settled(2) == {"indexed": 1, "dead_lettered": 1}
    assert [letter.value for letter in await place.dead_letters()] == [b"no JSON"]
    await process.ready()
