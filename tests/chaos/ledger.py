"""Every event that was sent, and where Kafka said that it lies."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from checker.history import Event, PartitionKey, Position
from checker.rules import order_of, version_of

from activity_loadgen.generate import Event as Sent
from activity_loadgen.ledger import Entry, digest


class Ledger:
    """Fed by the load generator: what it sends goes through `sending`, what is acknowledged to `acknowledge`."""

    def __init__(self) -> None:
        self.acknowledged: list[Event] = []
        self._unseen: dict[PartitionKey, list[Event]] = defaultdict(list)
        self._unacknowledged: dict[tuple[str, str, str | None], deque[Sent]] = defaultdict(deque)

    def sending(self, events: Iterable[Sent]) -> Iterator[Sent]:
        """The same events, each remembered before it is sent."""
        for event in events:
            self._unacknowledged[event.transaction_id, event.key.decode(), digest(event.value)].append(event)
            yield event

    def acknowledge(self, entry: Entry) -> None:
        """Kafka has an event; copies with the same key and bytes are as good as each other."""
        sent = self._unacknowledged[entry.transaction_id, entry.key, entry.sha256].popleft()
        event = recorded(sent, Position(entry.topic, entry.partition, entry.offset), entry.published or 0)
        self.acknowledged.append(event)
        self._unseen[entry.topic, entry.partition].append(event)

    def below(self, committed: dict[PartitionKey, int]) -> list[Event]:
        """Acknowledged events below these offsets that `seen` does not have."""
        return [
            event
            for place, events in self._unseen.items()
            for event in events
            if event.position and event.position.offset < committed.get(place, 0)
        ]

    def seen(self, events: Iterable[Event]) -> None:
        """These events need not be looked for any more."""
        gone = {event.position for event in events}
        self._unseen = defaultdict(
            list,
            {place: [event for event in left if event.position not in gone] for place, left in self._unseen.items()},
        )

    def events(self) -> list[Event]:
        """All that were sent; those without an acknowledgement have no position."""
        maybe = [recorded(sent, None) for queue in self._unacknowledged.values() for sent in queue]
        return [*self.acknowledged, *maybe]


def recorded(sent: Sent, position: Position | None, published: int = 0) -> Event:
    """An event in the checker's words; `published` is its record's timestamp (milliseconds)."""
    valid = sent.reason is None
    version = order = None
    if valid and sent.value:
        version = version_of(sent.value)
        order = order_of(sent.value, published, position.partition, position.offset) if position else None
    return Event(position, sent.key, sent.value, sent.headers, sent.transaction_id, valid, version, sent.kind, order)
