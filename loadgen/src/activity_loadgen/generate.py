"""Makes the events of a run: pure, so the same options give the same bytes in the same order."""

import heapq
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, count
from typing import Final, Literal

import msgspec

from activity_common.trace_context import TRACEPARENT, traceparent
from activity_loadgen.invalid import INVALID_KINDS, break_event
from activity_loadgen.options import LoadOptions
from activity_loadgen.transactions import Transaction, TransactionMaker, User, make_user

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

DIGITS: Final = {"seconds": 0, "microseconds": 6, "nanoseconds": 9}
ELSEWHERE: Final = "+05:30"
ELSEWHERE_SECONDS: Final = 19_800
USERS_KEPT: Final = 100_000
"""Users whose key and JSON are kept for their next event."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One record to publish, and what is known about it.

    `timestamp` is in nanoseconds, and `version` the event's base version (see `base_version`). Both are None for an
    invalid event, whose `reason` says what is wrong with it; `transaction_id` is then the transaction it was made from.
    `delivery` distinguishes a repeated or a late record from one that comes in its turn.
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
        self._random = rng.random
        self._ratio = ratio
        self._left = total or 0
        self._endless = total is None
        self._wanted = 0 if total is None else int(ratio * total + 0.5)

    def take(self) -> bool:
        """Whether the next thing is one of the chosen."""
        chance = self._random()
        if not self._wanted:
            return self._endless and chance < self._ratio
        chosen = chance * self._left < self._wanted
        self._left -= 1
        self._wanted -= chosen
        return chosen


class Users:
    """The users; the k-th most active is chosen with a weight of 1 / k**skew (Zipf)."""

    def __init__(self, rng: random.Random, first: str, number: int, skew: float) -> None:
        self._random = rng.random
        self._first = make_user(first)
        self._heights = list(accumulate((rank + 1) ** -skew for rank in range(number)))
        self._made = lru_cache(maxsize=USERS_KEPT)(self._make)

    def choose(self) -> User:
        """A user; the most active one is the one that the options name."""
        heights = self._heights
        if len(heights) == 1:
            return self._first
        return self._made(bisect(heights, self._random() * heights[-1]))

    def _make(self, rank: int) -> User:
        return make_user(f"{self._first.id}_{rank + 1}") if rank else self._first


def generate(options: LoadOptions) -> Iterator[Event]:
    """Yield the events of a run in the order they are to be sent; endless when `count` is None.

    Events of one transaction lie up to `spread` transactions apart, mixed with those of others.
    """
    planner = _Planner(options)
    waiting: list[tuple[int, int, Event]] = []
    number = count()
    for step in count() if options.count is None else range(options.count):
        for due, event in planner.plan(step):
            if due <= step and not (waiting and waiting[0][0] <= step):  # most events: nothing is due before them
                yield event
            else:
                heapq.heappush(waiting, (due, next(number), event))
        while waiting and waiting[0][0] <= step:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


class _Planner:
    """Decides what happens to each transaction, and when.

    The order of its random choices is part of what a seed stands for: no choice may be left out or moved.
    """

    def __init__(self, options: LoadOptions) -> None:
        rng = random.Random(options.run)  # noqa: S311 - reproducible, not secret
        self._rng = rng
        self._random = rng.random
        self._tick_us = options.tick_us
        self._start_us = options.start_us
        self._unit = options.timestamps
        self._digits = 1 + DIGITS[options.timestamps]
        self._point = "." if options.timestamps != "seconds" else ""
        self._ties = options.tie_ratio
        self._scattered = options.scatter_ratio
        self._traced = options.traceparent_ratio
        self._sampled = options.trace_ratio
        self._spread = options.spread
        self._maker = TransactionMaker(rng, options.run)
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

    def plan(self, step: int) -> list[tuple[int, Event]]:
        """The events of the transaction that starts at this step, each with the step it is sent at."""
        updates = self._whole_updates + self._updates.take()
        deleted, late = self._deletes.take(), self._lates.take()
        if late and updates + deleted == 0:
            updates = 1
        if updates or deleted:
            kinds, turns = self._kinds(updates, deleted=deleted)
            steps = list(accumulate((self._pause() for _ in kinds[1:]), initial=step))
            times = self._times(steps, turns)
            states = self._states(kinds, steps)
            events = [self._event(kind, at, state) for kind, at, state in zip(kinds, times, states, strict=True)]
        else:
            steps, states = [step], [self._first(step)]
            events = [self._event("created", self._time_ns(step), states[0])]
        if late:
            first = int(self._random() * (len(events) - 1))
            steps[first], steps[first + 1] = steps[first + 1], steps[first]
            events[first] = msgspec.structs.replace(events[first], delivery="late")
        planned = list(zip(steps, events, strict=True))
        if self._duplicates.take():
            chosen = int(self._random() * len(events))
            again = msgspec.structs.replace(events[chosen], delivery="duplicate", key=self._key(states[chosen].user))
            planned.append((steps[chosen] + self._pause(), again))
        if self._invalids.take():
            due = max(steps) + self._pause()
            planned.append((due, self._invalid(due, states[-1])))
        return planned

    def _kinds(self, updates: int, *, deleted: bool) -> tuple[list[Kind], list[bool]]:
        """What happens to a transaction, and which of it is a tie with what comes before."""
        ties = [self._random() < self._ties for _ in range(updates)] if self._ties else [False] * updates
        turns = [turn for tie in ties for turn in ([False, True] if tie else [False])]
        kinds: list[Kind] = ["created", *["updated"] * len(turns), *["deleted"] * deleted]  # type: ignore[list-item]
        return kinds, [False, *turns, *[False] * deleted]

    def _times(self, steps: Sequence[int], ties: Sequence[bool]) -> list[int]:
        """Timestamps in nanoseconds; a tie has the timestamp of the event before, or the same microsecond."""
        times: list[int] = []
        for step, tie in zip(steps, ties, strict=True):
            time = times[-1] if tie else self._time_ns(step)
            if tie and self._unit == "nanoseconds" and self._random() < SAME_MICROSECOND_SHARE:
                time = time - time % 1000 + int(self._random() * 1000)
            times.append(time)
        return times

    def _states(self, kinds: Sequence[Kind], steps: Sequence[int]) -> list[Transaction]:
        """The transaction as each of its events shows it."""
        states = [self._first(steps[0])]
        for number in range(1, len(kinds)):
            states.append(self._maker.change(states[-1], number))
        if kinds[-1] == "deleted":
            states[-1] = self._maker.cancel(states[-1])
        return states

    def _first(self, step: int) -> Transaction:
        """The transaction as it is created."""
        heights = self._type_heights
        kind = self._types[bisect(heights, self._random() * heights[-1])]
        created_at = self._time_text(self._time_ns(step))
        return self._maker.make(kind, self._users.choose(), created_at)

    def _event(self, kind: Kind, time: int, transaction: Transaction) -> Event:
        value = self._padding.fill(transaction, f"transaction.{kind}", self._time_text(time))
        return Event(
            self._key(transaction.user),
            value,
            self._headers(),
            kind,
            "normal",
            transaction.id,
            transaction.user.id,
            base_version(kind, time),
            None,
            time,
        )

    def _invalid(self, step: int, transaction: Transaction) -> Event:
        reason = self._broken[int(self._random() * len(self._broken))]
        value = _value(transaction, "transaction.updated", self._time_text(self._time_ns(step)))
        return Event(
            key=self._key(transaction.user),
            value=break_event(reason, value),
            headers=self._headers(),
            kind="invalid",
            delivery="normal",
            transaction_id=transaction.id,
            user_id=transaction.user.id,
            version=None,
            reason=reason,
        )

    def _key(self, user: User) -> bytes:
        """The user's id; of a scattered event a key of its own, which leads to any partition."""
        if self._scattered and self._random() < self._scattered:
            return f"{user.id}#{self._rng.getrandbits(32):08x}".encode()
        return user.key

    def _headers(self) -> tuple[Header, ...]:
        ratio = self._sampled
        if ratio is None and self._random() >= self._traced:
            return ()
        trace, span = self._rng.getrandbits(128) | 1, self._rng.getrandbits(64) | 1
        sampled = ratio is None or self._random() < ratio
        return ((TRACEPARENT, traceparent(trace, span, sampled=sampled)),)

    def _pause(self) -> int:
        return 1 + int(self._random() * self._spread)

    def _time_ns(self, step: int) -> int:
        """A step's timestamp, in the unit of the options."""
        microseconds = self._start_us + step * self._tick_us
        if self._unit == "microseconds":
            return microseconds * 1000
        if self._unit == "seconds":
            return microseconds // 1_000_000 * 1_000_000_000
        return microseconds * 1000 + step * BELOW_MICROSECOND % 1000

    def _time_text(self, time: int) -> str:
        """RFC 3339; mostly UTC with a Z, as producers differ also with an offset or with none."""
        seconds = time // 1_000_000_000
        fraction = f"{time % 1_000_000_000 + 1_000_000_000}"[1 : self._digits]
        form = self._random()
        if form < PLAIN_UTC_SHARE:
            return f"{_second_text(seconds)}{self._point}{fraction}Z"
        if form < OFFSET_SHARE:
            return f"{_second_text(seconds + ELSEWHERE_SECONDS)}{self._point}{fraction}{ELSEWHERE}"
        return f"{_second_text(seconds)}{self._point}{fraction}"


@lru_cache(maxsize=1_000)
def _second_text(seconds: int) -> str:
    """A second since 1970 as a date and time; many events share one."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _value(transaction: Transaction, event_type: str, time: str, more: str = "") -> bytes:
    """An event's bytes; `more` are further members of the metadata."""
    return (
        f'{{"event_type":"{event_type}","transaction":{transaction.head}{transaction.status}{transaction.currency}'
        f"{transaction.amount}{transaction.tail}{transaction.revision}{more}}}}},"
        f'"timestamp":"{time}","source":"{SOURCE}"}}'
    ).encode()


class _Padding:
    """Grows an event to the wanted size with text that does not compress to nothing."""

    def __init__(self, rng: random.Random, wanted: int) -> None:
        self._random = rng.random
        self._wanted = wanted
        self._text = "".join(f"{rng.getrandbits(64):016x}" for _ in range(PADDING_PIECE)) if wanted else ""

    def fill(self, transaction: Transaction, event_type: str, time: str) -> bytes:
        """The event's bytes, with padding where they are too few."""
        value = _value(transaction, event_type, time)
        lacking = self._wanted - len(value) - len(',"padding":[]') + len(",")
        if lacking <= 0:
            return value
        pieces = '","'.join(self._pieces(lacking))
        return _value(transaction, event_type, time, f',"padding":["{pieces}"]')

    def _pieces(self, size: int) -> Iterator[str]:
        while size > 0:
            length = min(PADDING_PIECE, max(1, size - len('"",')))
            start = int(self._random() * (len(self._text) - length))
            yield self._text[start : start + length]
            size -= length + len('"",')
