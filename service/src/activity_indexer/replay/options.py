"""What a replay is to do and how it is run: one value, from the command line down to each record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Final

from activity_indexer.dead_letters.selection import Selection
from activity_indexer.replay.correction import Correction

CHUNK_RECORDS: Final = 2000
"""Records that a transaction writes at most: as many as the reader gives at once."""

CHUNK_SECONDS: Final = 1.0
"""With a rate, a transaction writes what may be sent in this time: an even flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The options of one replay; times in seconds.

    What is read: `selection` of `dead_letter_topic`, and of `parked_topic` with `include_parked`; `up_to` is the frozen
    end as a plan printed it.

    What is done: everything goes to `to_topic`; without it each event goes to its own topic, if that is `events_topic`,
    and is refused otherwise. A dead letter that was sent `max_replays` times is parked, unless `include_parked`. What
    would change nothing in the index is skipped, unless `include_stale`. `correction` changes the values, `edit` asks
    for the correction of a single one, and `skip_invalid` sends the rest when a correction leaves some invalid.

    How it is run: `rate` is in events per second, None: as fast as possible. `max_sent` ends the replay. With `wait`
    it waits for `indexer_group`, for `wait_timeout` without progress. `horizon` is the age from which tombstones may be
    purged, and `max_clock_skew` is how far in the future an event may be.
    """

    replay_id: str
    indexer_group: str
    events_topic: str
    dead_letter_topic: str
    parked_topic: str
    selection: Selection = field(default_factory=Selection)
    up_to: str | None = None
    to_topic: str | None = None
    max_replays: int = 3
    include_parked: bool = False
    include_stale: bool = False
    correction: Correction | None = None
    edit: bool = False
    skip_invalid: bool = False
    dry_run: bool = False
    rate: float | None = None
    max_sent: int | None = None
    wait: bool = True
    wait_timeout: float = 60.0
    horizon: float = 30 * 86_400.0
    max_clock_skew: float = 86_400.0

    @property
    def group(self) -> str:
        """The consumer group that keeps the read position of this replay."""
        return f"{self.indexer_group}.replay.{self.replay_id}"

    @property
    def sources(self) -> list[str]:
        """The topics that are read."""
        return [self.dead_letter_topic, *([self.parked_topic] if self.include_parked else [])]

    @property
    def target(self) -> str:
        """The topic that events are sent to."""
        return self.to_topic or self.events_topic

    @property
    def chunk_records(self) -> int:
        """Records of one transaction."""
        return CHUNK_RECORDS if self.rate is None else max(1, min(CHUNK_RECORDS, int(self.rate * CHUNK_SECONDS)))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, the same for replays that do the same."""
        parts = [
            self.selection.fingerprint,
            self.correction.fingerprint if self.correction else None,
            *(self.to_topic, self.max_replays, self.include_parked, self.include_stale, self.max_sent),
        ]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
