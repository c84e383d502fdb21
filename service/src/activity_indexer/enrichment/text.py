"""Text from producers: cleaned, bounded, without card numbers, and folded for search."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from activity_indexer.enrichment.card_numbers import SHORTEST, is_mixed, without_card_numbers

KEYWORD_CHARACTERS: Final = 256
"""Longest value of a field that an enrichment adds."""

_KEPT_CLASSES: Final = frozenset({0, 7, 8, 9})
"""Combining classes of marks that make another letter (nukta, kana voicing, virama), not an accent."""

_PLAIN: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "ħ": "h",
        "ŧ": "t",
        "ŋ": "n",
        "ĸ": "q",
        "ƶ": "z",
        "ɨ": "i",
        "ə": "a",
    }
)
"""Latin letters that Unicode does not take apart."""

_APOSTROPHES: Final = re.compile("['`\N{RIGHT SINGLE QUOTATION MARK}\N{ACUTE ACCENT}]")
_CACHED_CHARACTERS: Final = 64
"""Longest text whose words are cached, so that the caches stay small."""

_NOT_WORDS: Final = re.compile(r"[\W_]+")


def clean(text: str, limit: int = KEYWORD_CHARACTERS) -> str:
    """The text on one line, without control characters and card numbers, cut to `limit` characters (20 or more)."""
    if len(text) < SHORTEST:
        if " " not in text and text.isprintable():
            return text
    elif len(text) <= limit and text.isalnum() and is_mixed(text):
        return text
    if len(text) > limit:
        text = text[: 4 * limit]
    if not text.isprintable():
        text = "".join(map(_visible, text))
    if "  " in text or text.strip() != text:
        text = " ".join(text.split())
    if len(text) >= SHORTEST:
        text = without_card_numbers(text)
    return text if len(text) <= limit else text[:limit].rstrip()


def is_shown_whole(text: str) -> bool:
    """Whether cleaning takes nothing but blanks out of a text, and so no card number."""
    return "".join(clean(text, max(len(text), SHORTEST)).split()) == "".join(text.split())


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cf", "Cs", "Cn", "Co"):
        return ""
    return " " if category[0] in "CZ" else character


def fold(text: str) -> str:
    """Case folded, accents removed, words in order and once each.

    A word that is not Latin is kept as it was written too: Elasticsearch folds Latin letters only, and a
    query for such a word must meet it.
    """
    if text.isascii():
        words = text.lower().split() if text.isprintable() else "".join(map(_visible, text)).lower().split()
        return " ".join(dict.fromkeys(words))
    if not text.isprintable():
        text = "".join(map(_visible, text))
    return " ".join(dict.fromkeys([form for word in text.split() for form in _forms(word)]))


def plain_words(text: str) -> str:
    """The words of a name as one key: folded, apostrophes out, one blank for anything else."""
    return " ".join(_NOT_WORDS.sub(" ", _APOSTROPHES.sub("", _without_accents(text))).split())


def words_of(text: str) -> Sequence[str]:
    """The words of `fold`; some of them may stand there again."""
    if text.isascii() and text.isprintable():
        return text.lower().split()
    return _cached_words(text) if len(text) <= _CACHED_CHARACTERS else unique_words_of(text)


def unique_words_of(text: str) -> tuple[str, ...]:
    """The words of `fold`."""
    return tuple(fold(text).split())


@lru_cache(maxsize=4096)
def _cached_words(text: str) -> tuple[str, ...]:
    return unique_words_of(text)


def _forms(word: str) -> tuple[str, ...]:
    if word.isascii():
        return (word.lower(),)
    return _known_forms(word) if len(word) <= _CACHED_CHARACTERS else _other_forms(word)


@lru_cache(maxsize=4096)
def _known_forms(word: str) -> tuple[str, ...]:
    return _other_forms(word)


def _other_forms(word: str) -> tuple[str, ...]:
    forms: list[str] = []
    for part in _normal(word).split():
        written = _without_leading_marks(part)  # a lone accent is a blank with a mark to Unicode
        plain = _without_accents(written)
        forms += [plain] if plain.isascii() else [plain, written]
    return tuple(form for form in forms if form)


def _without_leading_marks(part: str) -> str:
    first = next((at for at, letter in enumerate(part) if unicodedata.category(letter)[0] != "M"), len(part))
    return part[first:]


def _without_accents(word: str) -> str:
    if word.isascii():
        return word.lower()
    letters = unicodedata.normalize("NFKD", _normal(word).casefold()).translate(_PLAIN)
    kept = "".join(letter for letter in letters if unicodedata.combining(letter) in _KEPT_CLASSES)
    return unicodedata.normalize("NFC", kept)


def _normal(word: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).lower())
