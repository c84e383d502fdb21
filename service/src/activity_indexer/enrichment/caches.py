"""A cache that cannot grow: bounded in entries and in characters, whatever the producers send."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(dict[K, V]):
    """`cache[key]` is what `make(key)` returns, remembered while there is room.

    `make` returns the value and its weight (characters of key and value); a value without weight or heavier than
    `heaviest` is not kept. A full cache is emptied: values that never come again cost one insertion each and no
    bookkeeping, and values that do come again are soon back. A dictionary, because a hit then costs no Python call.
    """

    def __init__(
        self, make: Callable[[K], tuple[V, int]], *, entries: int = 4096, weight: int = 1 << 20, heaviest: int = 1024
    ) -> None:
        super().__init__()
        self._make = make
        self._entries = entries
        self._limit = weight
        self._heaviest = heaviest
        self.weight = 0

    def __missing__(self, key: K) -> V:
        value, weight = self._make(key)
        if 0 < weight <= self._heaviest:
            if len(self) >= self._entries or self.weight + weight > self._limit:
                self.clear()
                self.weight = 0
            self[key] = value
            self.weight += weight
        return value
