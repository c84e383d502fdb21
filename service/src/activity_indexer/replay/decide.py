"""What becomes of a dead letter in a replay, and why."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Container, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec

from activity_indexer.dead_letters.document_state import (
    Identity,
    Standing,
    StoredDocument,
    identity,
    identity_of,
    standing,
)
from activity_indexer.dead_letters.earlier import original_position
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.spans import Spans
from activity_indexer.errors import EventError, Refused, Unavailable
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.replay.correction import corrected
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.ports import Documents
from activity_indexer.replay.records import Addressed, lies_at, parked, sent_again

AHEAD: Final = 3
"""Batches about which the index is asked while an earlier one is worked on."""

AHEAD_BYTES: Final = 32 * 1024 * 1024
"""Bytes of dead letters that are decided before their turn; a batch is much larger unpacked than when it is fetched."""


FRESH: Final = 60.0
"""Seconds for which what a plan decided is not asked again: the index may change meanwhile."""


MAX_REMEMBERED: Final = 50_000_000
"""Offsets whose fates are kept, and bytes that they take."""


class Fate(StrEnum):
    """What becomes of a dead letter; the values are names of counters."""

    SENT = "sent"
    PARKED = "parked"
    STALE = "stale"
    REFUSED = "refused"
    SKIPPED = "skipped"


class Decision(msgspec.Struct, frozen=True):
    """The fate of one dead letter, and the reason where it is refused.

    `made` makes the record that is written for it: a plan needs none. `fails` says why the indexer would dead-letter it
    again at once; `event` is what it is about, its position left out.
    """

    letter: StoredDeadLetter
    fate: Fate
    made: Callable[[], Addressed] | None = None
    reason: str = ""
    fails: str = ""
    event: Identity | None = None


class Fates:
    """What a plan decided, in one byte for each offset: a replay that is sent soon afterwards need not decide again.

    `made_at` is in seconds since the epoch. Of more than MAX_REMEMBERED offsets nothing is kept.
    """

    def __init__(self, spans: Spans, made_at: float) -> None:
        self.made_at = made_at
        if sum(span.length for span in spans.values()) > MAX_REMEMBERED:
            spans = {}
        self._starts: dict[tuple[str, int], int] = {place: span.start for place, span in spans.items()}
        self._fates: dict[tuple[str, int], bytearray] = {place: bytearray(span.length) for place, span in spans.items()}

    def keep(self, decisions: Iterable[Decision]) -> None:
        """Remember these."""
        for decision in decisions:
            letter = decision.letter
            place = letter.topic, letter.partition
            fates = self._fates.get(place, bytearray())
            at = letter.offset - self._starts.get(place, 0)
            if 0 <= at < len(fates):  # a reading that was reset may begin before the span
                fates[at] = _NUMBERS[decision.fate]

    def of(self, letter: StoredDeadLetter) -> Fate | None:
        """What was decided about a dead letter; None when nothing was."""
        place = letter.topic, letter.partition
        fates = self._fates.get(place, b"")
        at = letter.offset - self._starts.get(place, 0)
        return _FATES[fates[at]] if 0 <= at < len(fates) else None


_FATES: Final = (None, *Fate)
_NUMBERS: Final = {fate: number for number, fate in enumerate(_FATES)}


class Decider:
    """Decides batch by batch: one question to the index for each.

    `settled` are the places of dead letters that came back since, or that are parked: their copies count. `planned`
    are the fates of a plan, which hold for FRESH seconds. `blind` says why the index could not be asked. `now` is in
    seconds since the epoch.
    """

    def __init__(
        self,
        options: ReplayOptions,
        documents: Documents,
        settled: Container[str] = (),
        now: Callable[[], float] = time.time,
        planned: Fates | None = None,
    ) -> None:
        self._options = options
        self._documents = documents
        self._settled = settled
        self._now = now
        self._planned = planned
        self.blind = ""

    async def decide(self, letters: Sequence[StoredDeadLetter]) -> list[Decision]:
        """The decisions, in order."""
        if self._planned and self._now() - self._planned.made_at < FRESH:
            fates = [fate for letter in letters if (fate := self._planned.of(letter))]
            if len(fates) == len(letters):
                return [self._as_planned(letter, fate) for letter, fate in zip(letters, fates, strict=True)]
        latest = int((self._now() + self._options.max_clock_skew) * 1e6)
        found = [self._first(letter, latest) for letter in letters]
        asked = {decision.event.identifier for decision in found if decision.event}
        states: Mapping[str, StoredDocument] = {}
        if asked and not self._options.include_stale:
            try:
                states = await self._documents.states(list(asked))
            except (Unavailable, Refused) as error:
                self.blind = self.blind or str(error)
        return [_checked(decision, states) for decision in found] if states else found

    def _as_planned(self, letter: StoredDeadLetter, fate: Fate) -> Decision:
        options = self._options
        if fate is Fate.SENT:
            value = options.correction.apply(letter.value) if options.correction else letter.value
            topic = options.to_topic or letter.original_topic or options.events_topic
            return Decision(letter, fate, partial(sent_again, letter, options.replay_id, topic, value))
        if fate is Fate.PARKED:
            return Decision(letter, fate, partial(parked, letter, options.parked_topic))
        return Decision(letter, fate)

    def _first(self, letter: StoredDeadLetter, latest: int) -> Decision:
        """What is known without the index; `latest` is the greatest timestamp that is believed (microseconds)."""
        options = self._options
        if not options.selection.matches(letter) or (self._settled and lies_at(letter) in self._settled):
            return Decision(letter, Fate.SKIPPED)
        topic = options.to_topic or letter.original_topic or options.events_topic
        if topic not in (options.to_topic, options.events_topic):
            return Decision(letter, Fate.REFUSED, reason=f"it comes from the topic {topic}: give --to-topic to send it")
        if letter.incomplete:
            return Decision(letter, Fate.REFUSED, reason=letter.incomplete)
        if letter.replay_count >= options.max_replays and not options.include_parked:
            made = partial(parked, letter, options.parked_topic)
            return Decision(letter, Fate.PARKED, made, event=identity(letter.facts))
        value, fails = letter.value, ""
        try:
            if options.correction:
                value, event = corrected(options.correction, value, latest)
            else:
                event = decode_event(value, latest)
        except EventError as error:
            fails = f"{error.code}: {error.message}"
            if options.correction:
                return Decision(letter, Fate.REFUSED, reason=f"invalid after the correction: {fails}", fails=fails)
            about = identity(letter.facts)
        else:
            about = identity_of(event)
        made = partial(sent_again, letter, options.replay_id, topic, value)
        return Decision(letter, Fate.SENT, made, fails=fails, event=about)


def _checked(decision: Decision, states: Mapping[str, StoredDocument]) -> Decision:
    """The decision when the document is known; where the event was published counts only then."""
    event = decision.event
    document = states.get(event.identifier) if event else None
    if event is None or document is None:
        return decision
    order = event.order._replace(position=original_position(decision.letter))
    if standing(event.version, order, document) is Standing.OLDER:
        return decision
    return Decision(decision.letter, Fate.STALE, event=event)


async def decided(
    decide: Callable[[Sequence[StoredDeadLetter]], Coroutine[Any, Any, list[Decision]]],
    reading: AsyncGenerator[Sequence[StoredDeadLetter], None],
    ahead: int = AHEAD,
) -> AsyncGenerator[list[Decision], None]:
    """The decisions about what is read, in order; up to `ahead` batches, of AHEAD_BYTES, are decided early."""
    coming: deque[asyncio.Task[list[Decision]]] = deque()
    sizes: deque[int] = deque()
    try:
        async with aclosing(reading):
            async for letters in reading:
                coming.append(asyncio.create_task(decide(letters)))
                sizes.append(sum(len(letter.value or b"") for letter in letters))
                while len(coming) > ahead or (coming and sum(sizes) > AHEAD_BYTES):
                    sizes.popleft()
                    yield await coming.popleft()
            while coming:
                yield await coming.popleft()
    finally:
        for each in coming:
            each.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
