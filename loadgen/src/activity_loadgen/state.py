"""Which event a stored document or tombstone stands for."""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from activity_loadgen.generate import RANKS
from activity_loadgen.ledger import Order

FIELDS: Final = ("event_type", "_updated_at", "_deleted_at", "_position")
"""Fields of a document that say which event it stands for."""

TIES: Final = 255
_FRACTION: Final = re.compile(r"\.(\d+)")
_POSITION: Final = re.compile(r"(-?\d{1,19}):(-?\d{1,19}):(-?\d{1,19})")


class State(msgspec.Struct, frozen=True):
    """The base version of a document, and the place of its event in its transaction's order.

    `order` is None when the document does not say where its event was published.
    """

    version: int
    order: Order | None

    def is_before(self, version: int, order: Order) -> bool:
        """Whether the event with this base version and order is a later one."""
        if self.version != version:
            return self.version < version
        return self.order is not None and self.order < order


class _Source(msgspec.Struct):
    event_type: str = ""
    updated_at: str = msgspec.field(name="_updated_at", default="")
    deleted_at: str = msgspec.field(name="_deleted_at", default="")
    position: str = msgspec.field(name="_position", default="")


def state_of(version: int, source: bytes) -> State:
    """The state of a document with this version and body (JSON)."""
    found = msgspec.json.decode(source, type=_Source)
    position = _POSITION.fullmatch(found.position)
    kind = "deleted" if found.deleted_at else found.event_type.removeprefix("transaction.")
    base = version & ~TIES
    if position is None or kind not in RANKS:
        return State(base, None)
    published, partition, offset = map(int, position.groups())
    return State(base, (nanoseconds(found.deleted_at or found.updated_at), RANKS[kind], published, partition, offset))


def nanoseconds(text: str) -> int:
    """An RFC 3339 time as nanoseconds since 1970; without an offset it is UTC."""
    fraction = _FRACTION.search(text)
    moment = datetime.fromisoformat(_FRACTION.sub("", text))
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    below = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + below
