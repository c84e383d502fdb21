"""Producers call one thing by many names: from their metadata to our words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from activity_indexer.enrichment.text import KEYWORD_CHARACTERS, clean

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

    def _collect(self, prefix: str, values: Mapping[str, Any], found: dict[str, str], ranks: dict[str, int]) -> None:
        places = self._places
        for key, value in values.items():
            if type(value) is dict:
                if not prefix:
                    self._collect(f"{key}_", value, found, ranks)
                continue
            name = prefix + key if prefix else key
            place = places.get(name) or places.get(_squash(name))
            if place is None:
                continue
            thing, rank = place
            if thing in found and ranks[thing] <= rank:
                continue
            text = value if type(value) is str else _text(value)
            if thing != "card_number":  # of which the strategy shows the last four digits only
                text = clean(text, NOTE_CHARACTERS if thing == "note" else KEYWORD_CHARACTERS)
            if text:
                found[thing] = text
                ranks[thing] = rank


@lru_cache(maxsize=4096)
def _squash(key: str) -> str:
    return "" if len(key) > MAX_KEY_CHARACTERS else _SEPARATORS.sub("", key).lower()


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
