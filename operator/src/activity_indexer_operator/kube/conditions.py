"""Conditions by KEP-1623: values in, values out, no I/O.

Reasons are closed sets (an Enum per condition), messages are one sentence without times or counts that move, and a
condition whose status is as before keeps the time of its last change.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from activity_indexer_operator.kube.objects import Condition


def merge(
    previous: Iterable[Condition], current: Iterable[Condition], now: str, generation: int
) -> tuple[Condition, ...]:
    """The current conditions, with times and their generation; sorted by type."""
    times = {(old.type, old.status): old.last_transition_time for old in previous}
    return tuple(
        replace(new, last_transition_time=times.get((new.type, new.status)) or now, observed_generation=generation)
        for new in sorted(current, key=lambda condition: condition.type)
    )


def transitions(previous: Iterable[Condition], current: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions whose status or reason has changed: what is worth an Event."""
    before = {condition.type: (condition.status, condition.reason) for condition in previous}
    return tuple(new for new in current if before.get(new.type) != (new.status, new.reason))
