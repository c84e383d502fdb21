"""A cache that cannot grow: bounded in entries and in characters, whatever the producers send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

ADMITTED: Final = 8
"""Of the values that a cache lacks, it keeps one in this many once it was full."""


class Cache(dict[K, V]):
    """`cache[key]` is what `make(key)` returns, remembered while there is room.

    `weigh` says how much a value takes with its key (characters); one without weight, or heavier than `heaviest`, is
    not kept. A full cache is emptied. From then on it keeps one value in `ADMITTED` that it lacks: what comes often is
    soon back, and what does not come again costs nearly nothing. A dictionary, because a hit then costs no Python call.
    """

    def __init__(
        self,
        make: Callable[[K], V],
        weigh: Callable[[K, V], int],
        *,
        entries: int = 4096,
        weight: int = 1 << 20,
        heaviest: int = 1024,
    ) -> None:
        super().__init__()
        self._make = make
        self._weigh = weigh
        self._entries = entries
        self._limit = weight
        self._heaviest = heaviest
        self._since_full = -1
        self.weight = 0

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        if self._since_full >= 0:
            self._since_full += 1
            if self._since_full % ADMITTED:
                return value
        weight = self._weigh(key, value)
        if 0 < weight <= self._heaviest:
            if len(self) >= self._entries or self.weight + weight > self._limit:
                self.clear()
                self.weight = self._since_full = 0
            self[key] = value
            self.weight += weight
        return value
