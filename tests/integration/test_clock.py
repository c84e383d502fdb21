"""An indexer whose wall clock is hours off does its work all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.clock import Clock
from support import DELETED, Indexer, Place, event, moment

pytestmark = pytest.mark.integration


@pytest.fixture(params=[-3 * 3600.0, 3 * 3600.0], ids=["behind", "ahead"])
def process(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Iterator[Indexer]:
    """An indexer with a clock that is three hours off."""
    clock = Clock(tmp_path / "clock")
    clock.move(request.param)
    found = Indexer(place, tmp_path / "log", {}, clock.command)
    yield found
    found.end()


async def test_events_are_indexed_and_bad_ones_dead_lettered_whatever_the_clock_says(
    place: Place, process: Indexer
) -> None:
    await process.ready()
    await place.publish([event("a"), b"no JSON", event("b"), event("b", DELETED, moment(5))])
    assert (await process.settled(4))["dead_lettered"] == 1
    assert (await place.documents()).keys() == {"a"}
    (letter,) = await place.dead_letters()
    assert letter.value == b"no JSON"
    assert process.logged("dead_letters.blocked") == []
