"""A merchant as card networks print it, made readable: `STARBUCKS #1234 SEATTLE` is Starbucks."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from activity_indexer.enrichment.reference.merchants import ONLY_ALONE, categories_by_word, known_merchants
from activity_indexer.enrichment.text import plain_words

_LONGEST_KNOWN_NAME: Final = 4
"""Words of the longest name in the reference."""

_THROUGH: Final = re.compile(
    r"(?:bt|cko|dlo|dlocal|ebanx|fs|google|iz|merpago|mercadopago|pag|paypal|pp|py|sp|sq|stripe|sumup|tst|wpy|zettle_?)"
    r"\s*\*\s*(?=\w)",
    re.IGNORECASE,
)
_REFERENCE: Final = re.compile(
    r"(?<=\S)(?:\s*[#№]|\s*\*\s*(?=\w*\d)|\s+(?:store|shop|loja|suc|sucursal|no|nr|unit|terminal)\b\.?\s*\d).*",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"(?<=\S)\s+\+?\d[\d().-]{2,}.*")
_LEGAL_FORM: Final = re.compile(
    r"(?<=\w)[\s,]+(?:inc|llc|ltd|ltda|gmbh|corp|plc|s\.?a\.?s?|s/a|s\.?r\.?l|b\.?v)\.?$", re.IGNORECASE
)
_SMALL_WORDS: Final = frozenset(
    ["and", "da", "das", "de", "del", "do", "dos", "e", "el", "la", "las", "los", "of", "the", "y"]
)
_PART: Final = re.compile(r"(?:^[od]['`\N{RIGHT SINGLE QUOTATION MARK}]|[^-&]+)", re.IGNORECASE)
_VOWELS: Final = frozenset("AEIOUY")


class Merchant(NamedTuple):
    """The common name, and the category that it implies, if any."""

    name: str
    category: str | None


def merchant_of(printed: str) -> Merchant:
    """The merchant behind a printed name, which is clean and not empty."""
    bare = _bare(printed)
    words = plain_words(bare).split()
    known = _known(words)
    if known:
        return known
    by_word = categories_by_word()
    return Merchant(_readable(bare), next((by_word[word] for word in words if word in by_word), None))


def _known(words: list[str]) -> Merchant | None:
    listed = known_merchants()
    for count in range(min(len(words), _LONGEST_KNOWN_NAME), 0, -1):
        key = " ".join(words[:count])
        if key in listed and (count == len(words) or key not in ONLY_ALONE):
            return Merchant(*listed[key])
    return None


def _bare(printed: str) -> str:
    bare = _REFERENCE.sub("", _THROUGH.sub("", printed, count=1) if "*" in printed else printed)
    if bare.isupper():
        bare = _NUMBER.sub("", bare)
    return " ".join(_LEGAL_FORM.sub("", bare.replace("*", " ")).strip(" -.,/").split()) or printed


def _readable(name: str) -> str:
    if not (name.isupper() or name.islower()) or "/" in name:
        return name
    first, *others = name.split()
    return " ".join(
        [_titled(first), *(word.lower() if word.lower() in _SMALL_WORDS else _titled(word) for word in others)]
    )


def _titled(word: str) -> str:
    if word.isupper() and len(word) <= len("H&M") and not _VOWELS & set(word):
        return word
    return _PART.sub(lambda part: part[0].capitalize().replace("i\u0307", "i"), word)
