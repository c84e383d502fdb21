"""What becomes of a dead letter in a replay, and why."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from activity_indexer.dead_letters.document_state import Standing, StoredDocument, standing
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.errors import EventError, Refused, Unavailable
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.replay.correction import Correction, corrected
from activity_indexer.replay.identity import Identity, identity, identity_of, original_position
from activity_indexer.replay.ports import Documents
from activity_indexer.replay.records import Addressed, lies_at, parked, sent_again


class Fate(StrEnum):
    """What becomes of a dead letter; the values are names of counters."""

    SENT = "sent"
    PARKED = "parked"
    STALE = "stale"
    REFUSED = "refused"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a replay is to do.

    `topic` is where all events go; without it each goes to its own topic, if that is `default_topic`, and else is
    refused. `max_replays` is how often a dead letter is sent before it is parked in `parked_topic`.
    """

    replay_id: str
    selection: Selection
    default_topic: str
    parked_topic: str
    max_replays: int
    topic: str | None = None
    correction: Correction | None = None
    include_parked: bool = False
    include_stale: bool = False
    max_sent: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of one dead letter, and the reason where it is refused.

    `made` makes the record that is written for it: a plan needs none. `fails` says why the indexer would dead-letter it
    again at once; `event` is what it is about.
    """

    letter: StoredDeadLetter
    fate: Fate
    made: Callable[[], Addressed] | None = None
    reason: str = ""
    fails: str = ""
    event: Identity | None = None


class Decider:
    """Decides batch by batch: one question to the index for each.

    `settled` are the places of dead letters that came back since, or lie among the parked ones: their copies count.
    `blind` tells why the index could not be asked.
    """

    def __init__(self, wanted: Wanted, documents: Documents, settled: Container[str]) -> None:
        self._wanted = wanted
        self._documents = documents
        self._settled = settled
        self.blind = ""

    async def decide(self, letters: Sequence[StoredDeadLetter], latest: int) -> list[Decision]:
        """The decisions, in order; `latest` is the greatest timestamp that is believed (microseconds)."""
        found = [self._first(letter, latest) for letter in letters]
        asked = {decision.event.identifier for decision in found if decision.event}
        states = await self._states(sorted(asked))
        return [_checked(decision, states) for decision in found] if states else found

    def _first(self, letter: StoredDeadLetter, latest: int) -> Decision:
        """What can be told without the index."""
        wanted = self._wanted
        if not wanted.selection.matches(letter) or lies_at(letter) in self._settled:
            return Decision(letter, Fate.SKIPPED)
        topic = wanted.topic or letter.original_topic or wanted.default_topic
        if topic not in (wanted.topic, wanted.default_topic):
            return Decision(letter, Fate.REFUSED, reason=f"it comes from the topic {topic}: give --to-topic to send it")
        if letter.incomplete:
            return Decision(letter, Fate.REFUSED, reason=letter.incomplete)
        if letter.replay_count >= wanted.max_replays and not wanted.include_parked:
            made = partial(parked, letter, wanted.parked_topic)
            return Decision(letter, Fate.PARKED, made, event=identity(letter.facts, original_position(letter)))
        return self._to_send(letter, topic, latest)

    def _to_send(self, letter: StoredDeadLetter, topic: str, latest: int) -> Decision:
        value, fails, position = letter.value, "", original_position(letter)
        try:
            if self._wanted.correction:
                value, event = corrected(self._wanted.correction, value, latest, position)
            else:
                event = decode_event(value, latest, position)
        except EventError as error:
            fails = f"{error.code}: {error.message}"
            if self._wanted.correction:
                return Decision(letter, Fate.REFUSED, reason=f"invalid after the correction: {fails}", fails=fails)
            about = identity(letter.facts, position)
        else:
            about = identity_of(event)
        made = partial(sent_again, letter, self._wanted.replay_id, topic, value)
        return Decision(letter, Fate.SENT, made, fails=fails, event=about)

    async def _states(self, identifiers: Sequence[str]) -> Mapping[str, StoredDocument]:
        if self._wanted.include_stale or not identifiers:
            return {}
        try:
            found = await self._documents.states(identifiers)
        except (Unavailable, Refused) as error:
            self.blind = str(error)
            return {}
        self.blind = ""
        return found


def _checked(decision: Decision, states: Mapping[str, StoredDocument]) -> Decision:
    event = decision.event
    if event is None:
        return decision
    if standing(event.version, event.order, states.get(event.identifier)) in (Standing.ABSENT, Standing.OLDER):
        return decision
    return Decision(decision.letter, Fate.STALE, event=event)
