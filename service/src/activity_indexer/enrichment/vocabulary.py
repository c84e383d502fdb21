"""Producers call one thing by many names: from their metadata to our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from activity_indexer.enrichment.text import clean

NOTE_CHARACTERS: Final = 1024
"""Longest note that is searched."""

MAX_KEY_CHARACTERS: Final = 64
MAX_DIGITS: Final = 100
_SEPARATORS: Final = re.compile(r"[\W_]+")


class Vocabulary:
    """Reads the values of known things, whatever the producer calls them.

    Each thing comes with the names that are understood, the preferred ones first. `merchant_name`, `merchantName` and
    `{"merchant": {"name": …}}` are one name.
    """

    def __init__(self, **names: str) -> None:
        self.things: frozenset[str] = frozenset(names)
        self._places: dict[str, tuple[str, int]] = {}
        for thing, listed in names.items():
            for rank, name in enumerate(listed.split()):
                self._places[name] = self._places[_squash(name)] = (thing, rank)

    def read(self, metadata: Mapping[str, Any]) -> dict[str, str]:
        """Thing → text, for the things that have a usable value; text is one clean line."""
        found: dict[str, str] = {}
        ranks: dict[str, int] = {}
        self._collect("", metadata, found, ranks)
        return found

    def cleaner(self, thing: str) -> Callable[[str], str]:
        """Makes a usable text of what was said of this thing."""
        return _CLEANERS.get(thing, clean)

    def keys_of(self, keys: Iterable[str]) -> dict[str, str] | None:
        """Thing → key, for the keys of metadata without objects; None when two keys are names of one thing."""
        found: dict[str, str] = {}
        for key in keys:
            place = self._place(key)
            if place and found.setdefault(place[0], key) != key:
                return None
        return found

    def _place(self, name: str) -> tuple[str, int] | None:
        found = self._places.get(name)
        return self._places.get(_squash(name)) if found is None and len(name) <= MAX_KEY_CHARACTERS else found

    def _collect(self, prefix: str, values: Mapping[str, Any], found: dict[str, str], ranks: dict[str, int]) -> None:
        places = self._places
        for key, value in values.items():
            if type(value) is dict:
                if not prefix:
                    self._collect(f"{key}_", value, found, ranks)
                continue
            name = prefix + key if prefix else key
            place = places.get(name)
            if place is None:
                place = self._place(name)
                if place is None:
                    continue
            thing, rank = place
            if thing in found and ranks[thing] <= rank:
                continue
            text = _CLEANERS.get(thing, clean)(value if type(value) is str else _text(value))
            if text:
                found[thing] = text
                ranks[thing] = rank


@lru_cache(maxsize=4096)
def _squash(key: str) -> str:
    return _SEPARATORS.sub("", key).lower()


def _note(text: str) -> str:
    return clean(text, NOTE_CHARACTERS)


def _number(text: str) -> str:
    return text  # of which the strategy shows the last four digits only


_CLEANERS: Final = {"note": _note, "card_number": _number}


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value) if len(value.as_tuple().digits) <= MAX_DIGITS else ""
    if isinstance(value, int):
        return str(value).lower() if -(10**MAX_DIGITS) < value < 10**MAX_DIGITS else ""
    return ""


@lru_cache(maxsize=4096)
def word(text: str) -> str:
    """The text as a stable word: `Food & Drink` is `food_drink`."""
    return _SEPARATORS.sub("_", text).strip("_").casefold()
