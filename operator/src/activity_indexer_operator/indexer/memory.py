"""What the reconciler remembers of an object between passes. All of it may be lost: then it looks again."""

from __future__ import annotations

from dataclasses import dataclass, field

from activity_indexer_operator.indexer.lag_policy import LagState
from activity_indexer_operator.indexer.spec import Spec


@dataclass(slots=True)
class Memory:
    """Of one object.

    `good` is the last spec that was accepted, with its generation; `applied` the fingerprints, by kind, of what was
    asked for and of what the API server made of it; `misses` the looks at Kafka in a row that showed nothing. `still`
    has, by partition with a lag, the group's position and since when it is that (seconds of the reconciler's clock).
    """

    good: tuple[int, Spec] | None = None
    applied: dict[str, tuple[str, str]] = field(default_factory=dict)
    misses: int = 0
    shrunk_to: int | None = None
    lag: LagState = field(default_factory=LagState)
    still: dict[int, tuple[int, float]] = field(default_factory=dict)
    written_at: float = float("-inf")
