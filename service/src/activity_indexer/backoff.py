"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter: between half and all of `initial` · 2^attempt, at most `maximum` (seconds)."""

    initial: float
    maximum: float

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the failed try number `attempt`, counted from 0."""
        ceiling = min(self.maximum, self.initial * 2.0 ** min(attempt, 32))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter is no secret
