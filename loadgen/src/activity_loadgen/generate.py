"""Makes the events of a run: pure, so the same options give the same bytes in the same order."""

import heapq
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate, count
from typing import Any, Final, Literal

import msgspec

from activity_loadgen.invalid import INVALID_KINDS, break_event
from activity_loadgen.options import LoadOptions
from activity_loadgen.transactions import Transaction, change, make_transaction, pick

SOURCE: Final = "synthetic_data_generator"
RANKS: Final = {"created": 0, "updated": 1, "deleted": 2}
FINER: Final = 3
PADDING_PIECE: Final = 4_000
# A tenth of the producers write local time with its offset, or UTC without saying so.
PLAIN_UTC_SHARE: Final = 0.9
OFFSET_SHARE: Final = 0.95

Kind = Literal["created", "updated", "deleted", "invalid"]
Delivery = Literal["normal", "late", "duplicate"]
Header = tuple[str, bytes]

SAME_MICROSECOND_SHARE: Final = 0.5
"""Of the ties with nanoseconds: those that have the event before's microsecond alone."""
BELOW_MICROSECOND: Final = 617
"""Nanoseconds by which the digits below the microsecond grow from step to step."""

_ELSEWHERE: Final = timezone(timedelta(hours=5, minutes=30))


class Event(msgspec.Struct, frozen=True, gc=False):
    """One record to publish, and what is known about it.

    `timestamp` is in nanoseconds, and `version` the event's base version (see `base_version`). Both are None for an
    invalid event, whose `reason` says what is wrong with it; `transaction_id` is then the transaction it was made from.
    `delivery` tells a repeated or a late record from one that comes in its turn.
    """

    key: bytes
    value: bytes | None
    headers: tuple[Header, ...]
    kind: Kind
    delivery: Delivery
    transaction_id: str
    user_id: str
    version: int | None
    reason: str | None
    timestamp: int | None = None


def base_version(kind: Kind, timestamp: int) -> int:
    """The version that an event's document has at least.

    It is the timestamp in microseconds times 4 plus the rank (3 when the timestamp has nanoseconds), and 8 bits that
    are left for events with the same timestamp and rank.
    """
    microseconds, finer = divmod(timestamp, 1000)
    return (microseconds * 4 + (FINER if finer else RANKS[kind])) << 8


class Quota:
    """Chooses a share of things: exactly that share when their number is known, about that share if not."""

    def __init__(self, rng: random.Random, ratio: float, total: int | None) -> None:
        self._rng = rng
        self._ratio = ratio
        self._left = total
        self._wanted = 0 if total is None else int(ratio * total + 0.5)

    def take(self) -> bool:
        """Whether the next thing is one of the chosen."""
        if self._left is None:
            return self._rng.random() < self._ratio
        chosen = self._rng.random() * self._left < self._wanted
        self._left -= 1
        self._wanted -= chosen
        return chosen


class Users:
    """User ids; the k-th most active is chosen with a weight of 1 / k**skew (Zipf)."""

    def __init__(self, rng: random.Random, first: str, number: int, skew: float) -> None:
        self._rng = rng
        self._first = first
        self._heights = list(accumulate((rank + 1) ** -skew for rank in range(number)))

    def choose(self) -> str:
        """A user id; the most active user's is the one the options name."""
        if len(self._heights) == 1:
            return self._first
        rank = bisect(self._heights, self._rng.random() * self._heights[-1])
        return self._first if rank == 0 else f"{self._first}_{rank + 1}"


def generate(options: LoadOptions) -> Iterator[Event]:
    """Yield the events of a run in the order they are to be sent; endless when `count` is None.

    Events of one transaction lie up to `spread` transactions apart, mixed with those of others.
    """
    planner = _Planner(options)
    waiting: list[tuple[int, int, Event]] = []
    number = count()
    for step in count() if options.count is None else range(options.count):
        for due, event in planner.plan(step):
            heapq.heappush(waiting, (due, next(number), event))
        while waiting and waiting[0][0] <= step:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


class _Planner:
    """Decides what happens to each transaction, and when."""

    def __init__(self, options: LoadOptions) -> None:
        rng = random.Random(options.run)  # noqa: S311 - reproducible, not secret
        self._rng = rng
        self._options = options
        self._run = options.run
        self._tick_us = options.tick_us
        self._ties = options.tie_ratio
        self._scattered = options.scatter_ratio
        self._users = Users(rng, options.user_id, options.users, options.user_skew)
        self._types = tuple(name for name, share in options.type_mix.items() if share > 0)
        self._type_heights = list(accumulate(options.type_mix[name] for name in self._types))
        self._padding = _Padding(rng, options.payload_bytes)
        self._broken = options.invalid_kinds or tuple(INVALID_KINDS)
        whole_updates, update_share = divmod(options.update_ratio, 1)
        self._whole_updates = int(whole_updates)
        self._updates = Quota(rng, update_share, options.count)
        self._deletes = Quota(rng, options.delete_ratio, options.count)
        self._lates = Quota(rng, options.late_ratio, options.count)
        self._duplicates = Quota(rng, options.duplicate_ratio, options.count)
        self._invalids = Quota(rng, options.invalid_ratio, options.count)

    def plan(self, step: int) -> Iterator[tuple[int, Event]]:
        """The events of the transaction that starts at this step, each with the step it is sent at."""
        updates = self._whole_updates + self._updates.take()
        deleted, late = self._deletes.take(), self._lates.take()
        if late and updates + deleted == 0:
            updates = 1
        ties = [self._rng.random() < self._ties for _ in range(updates)] if self._ties else [False] * updates
        turns = [turn for tie in ties for turn in ([False, True] if tie else [False])]
        kinds: list[Kind] = ["created", *["updated"] * len(turns), *["deleted"] * deleted]  # type: ignore[list-item]
        steps = list(accumulate((self._pause() for _ in kinds[1:]), initial=step))
        times = self._times(steps, [False, *turns, *[False] * deleted])
        versions = self._versions(kinds, steps)
        events = [self._event(kind, at, state) for kind, at, state in zip(kinds, times, versions, strict=True)]
        yield from self._deliver(events, steps, late=late)
        if self._invalids.take():
            due = steps[-1] + self._pause()
            yield due, self._invalid(due, versions[-1])

    def _times(self, steps: Sequence[int], ties: Sequence[bool]) -> list[int]:
        """Timestamps in nanoseconds; a tie has the timestamp of the event before, or the same microsecond."""
        times: list[int] = []
        for step, tie in zip(steps, ties, strict=True):
            time = times[-1] if tie else self._time_ns(step)
            if tie and self._options.timestamps == "nanoseconds" and self._rng.random() < SAME_MICROSECOND_SHARE:
                time = time - time % 1000 + int(self._rng.random() * 1000)
            times.append(time)
        return times

    def _versions(self, kinds: Sequence[Kind], steps: Sequence[int]) -> list[Transaction]:
        kind = self._types[bisect(self._type_heights, self._rng.random() * self._type_heights[-1])]
        created_at = self._time_text(self._time_ns(steps[0]))
        states = [make_transaction(self._rng, kind, self._users.choose(), created_at, self._run)]
        for number, event_kind in enumerate(kinds[1:], 1):
            state = change(self._rng, states[-1], number)
            states.append({**state, "status": "cancelled"} if event_kind == "deleted" else state)
        return states

    def _deliver(self, events: list[Event], steps: list[int], *, late: bool) -> Iterator[tuple[int, Event]]:
        dues = list(steps)
        if late:
            first = int(self._rng.random() * (len(events) - 1))
            dues[first], dues[first + 1] = dues[first + 1], dues[first]
            events[first] = msgspec.structs.replace(events[first], delivery="late")
        yield from zip(dues, events, strict=True)
        if self._duplicates.take():
            chosen = int(self._rng.random() * len(events))
            again = msgspec.structs.replace(events[chosen], delivery="duplicate", key=self._key(events[chosen].user_id))
            yield dues[chosen] + self._pause(), again

    def _event(self, kind: Kind, time: int, transaction: Transaction) -> Event:
        value = self._padding.fill(self._body(kind, time, transaction))
        return self._record(kind, transaction, value, time)

    def _invalid(self, step: int, transaction: Transaction) -> Event:
        reason = pick(self._rng, self._broken)
        value = break_event(reason, self._body("updated", self._time_ns(step), transaction))
        return self._record("invalid", transaction, value, reason=reason)

    def _record(
        self,
        kind: Kind,
        transaction: Transaction,
        value: bytes | None,
        timestamp: int | None = None,
        reason: str | None = None,
    ) -> Event:
        user_id = transaction["user_id"]
        return Event(
            key=self._key(user_id),
            value=value,
            headers=self._headers(),
            kind=kind,
            delivery="normal",
            transaction_id=transaction["id"],
            user_id=user_id,
            version=None if timestamp is None else base_version(kind, timestamp),
            reason=reason,
            timestamp=timestamp,
        )

    def _key(self, user_id: str) -> bytes:
        """The user's id; of a scattered event a key of its own, which leads to any partition."""
        if self._scattered and self._rng.random() < self._scattered:
            return f"{user_id}#{self._rng.getrandbits(32):08x}".encode()
        return user_id.encode()

    def _headers(self) -> tuple[Header, ...]:
        ratio = self._options.trace_ratio
        if ratio is None and self._rng.random() >= self._options.traceparent_ratio:
            return ()
        trace, span = self._rng.getrandbits(128) | 1, self._rng.getrandbits(64) | 1
        sampled = ratio is None or self._rng.random() < ratio
        return (("traceparent", f"00-{trace:032x}-{span:016x}-{sampled:02x}".encode()),)

    def _body(self, kind: Kind, time: int, transaction: Transaction) -> dict[str, Any]:
        return {
            "event_type": f"transaction.{kind}",
            "transaction": transaction,
            "timestamp": self._time_text(time),
            "source": SOURCE,
        }

    def _pause(self) -> int:
        return 1 + int(self._rng.random() * self._options.spread)

    def _time_ns(self, step: int) -> int:
        """A step's timestamp, in the unit of the options."""
        microseconds = self._options.start_us + step * self._tick_us
        if self._options.timestamps == "seconds":
            return microseconds // 1_000_000 * 1_000_000_000
        below = step * BELOW_MICROSECOND % 1000 if self._options.timestamps == "nanoseconds" else 0
        return microseconds * 1000 + below

    def _time_text(self, time: int) -> str:
        """RFC 3339; mostly UTC with a Z, as producers differ also with an offset or with none."""
        seconds, below = divmod(time, 1_000_000_000)
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
        fraction = {"seconds": "", "microseconds": f".{below // 1000:06}", "nanoseconds": f".{below:09}"}
        form = self._rng.random()
        local, offset = (moment, "Z") if form < PLAIN_UTC_SHARE else (moment.astimezone(_ELSEWHERE), "+05:30")
        if form >= OFFSET_SHARE:
            local, offset = moment, ""
        return f"{local:%Y-%m-%dT%H:%M:%S}{fraction[self._options.timestamps]}{offset}"


class _Padding:
    """Grows an event to the wanted size with text that does not compress to nothing."""

    def __init__(self, rng: random.Random, wanted: int) -> None:
        self._rng = rng
        self._wanted = wanted
        self._text = "".join(f"{rng.getrandbits(64):016x}" for _ in range(PADDING_PIECE)) if wanted else ""

    def fill(self, body: dict[str, Any]) -> bytes:
        value = msgspec.json.encode(body)
        lacking = self._wanted - len(value) - len(',"padding":[]') + len(",")
        if lacking <= 0:
            return value
        transaction = body["transaction"]
        metadata = {**transaction["metadata"], "padding": list(self._pieces(lacking))}
        return msgspec.json.encode({**body, "transaction": {**transaction, "metadata": metadata}})

    def _pieces(self, size: int) -> Iterator[str]:
        while size > 0:
            length = min(PADDING_PIECE, max(1, size - len('"",')))
            start = int(self._rng.random() * (len(self._text) - length))
            yield self._text[start : start + length]
            size -= length + len('"",')
