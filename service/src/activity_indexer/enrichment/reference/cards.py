"""Card networks: their names, and how their numbers begin."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from activity_indexer.enrichment.text import plain_words

_NAMES: Final = {
    "american express": "American Express",
    "americanexpress": "American Express",
    "amex": "American Express",
    "cabal": "Cabal",
    "carnet": "Carnet",
    "cartes bancaires": "Cartes Bancaires",
    "china unionpay": "UnionPay",
    "cb": "Cartes Bancaires",
    "diners": "Diners Club",
    "diners club": "Diners Club",
    "dinersclub": "Diners Club",
    "discover": "Discover",
    "elo": "Elo",
    "girocard": "girocard",
    "hipercard": "Hipercard",
    "interac": "Interac",
    "jcb": "JCB",
    "maestro": "Maestro",
    "master card": "Mastercard",
    "mastercard": "Mastercard",
    "mc": "Mastercard",
    "mir": "Mir",
    "naranja": "Naranja",
    "rupay": "RuPay",
    "troy": "Troy",
    "union pay": "UnionPay",
    "unionpay": "UnionPay",
    "visa": "Visa",
    "visa electron": "Visa",
}

_BEGINNINGS: Final = (
    (re.compile(r"4"), "Visa"),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), "Mastercard"),
    (re.compile(r"3[47]"), "American Express"),
    (re.compile(r"3(?:0[0-5]|[689])"), "Diners Club"),
    (re.compile(r"35"), "JCB"),
    (re.compile(r"6011|64[4-9]|65"), "Discover"),
    (re.compile(r"62"), "UnionPay"),
    (re.compile(r"50|5[6-9]|6[37]"), "Maestro"),
)


@lru_cache(maxsize=1024)
def network_of_name(text: str) -> str:
    """The network that a producer names; its own word when it is not known."""
    return _NAMES.get(plain_words(text), text)


def network_of_number(digits: str) -> str | None:
    """The network of a card number, or of its first digits (four or more)."""
    return next((network for beginning, network in _BEGINNINGS if beginning.match(digits)), None)
