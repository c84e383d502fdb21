"""What a new index version lacks."""

import pytest

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.event import UPDATED, event_version
from activity_indexer.reindex.verify import lacks

BASE = event_version(UPDATED, 1_704_110_400_000_000_000)


def stored(version: int, published: int | None = 5) -> Stored:
    """A document; without `published` its source was not asked for."""
    source = b'{"event_type":"%b","_updated_at":"2024-01-01T12:00:00Z","_position":"%d:0:0"}'
    return Stored("a", version, b"" if published is None else source % (UPDATED.encode(), published))


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (stored(BASE), None, True),
        (stored(BASE), stored(BASE - 256), True),
        (stored(BASE), stored(BASE - 1), True),
        (stored(BASE), stored(BASE), False),
        (stored(BASE), stored(BASE + 256), False),
        (stored(BASE + 3), stored(BASE + 256), False),
        (stored(BASE, None), stored(BASE + 1, None), False),
        (stored(BASE + 1, None), stored(BASE, None), True),
        (stored(BASE + 2, 5), stored(BASE, 5), False),
        (stored(BASE + 2, 5), stored(BASE, 6), False),
        (stored(BASE + 2, 5), stored(BASE, 4), True),
        (stored(BASE + 2, 5), Stored("a", BASE + 2, b"{}"), True),
    ],
)
def test_a_document_is_lost_when_the_new_version_has_an_earlier_event(
    before: Stored, after: Stored | None, lost: bool
) -> None:
    assert lacks(before, after) is lost
