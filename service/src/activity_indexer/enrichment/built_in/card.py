"""Card payments: the merchant, what it sells, and the card, by its last four digits alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from activity_indexer.enrichment.card_numbers import as_ascii, masked
from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text
from activity_indexer.enrichment.direction import DIRECTION, NAMES
from activity_indexer.enrichment.merchants import merchant_of
from activity_indexer.enrichment.reference.cards import network_of_name, network_of_number
from activity_indexer.enrichment.reference.merchant_categories import category_of_code, category_of_text, code_of
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary

_KEYWORD: Final = {"type": "keyword"}
_LAST_FOUR: Final = re.compile(r"\d{4}(?=\W*$)", re.ASCII)
_FIRST_DIGITS: Final = re.compile(r"\d{4,}", re.ASCII)
_MAX_NUMBER_CHARACTERS: Final = 64


@lru_cache(maxsize=4096)
def _merchant(merchant: str, mcc: str, category: str) -> Enrichment:
    name, by_name = merchant_of(merchant) if merchant else ("", None)
    code = code_of(mcc) or code_of(category)
    own = None if code_of(category) else category_of_text(category)
    known = (code and category_of_code(code)) or own or by_name or ""
    fields = {key: value for key, value in (("name", name), ("category", known), ("mcc", code)) if value}
    return Enrichment({"merchant": fields} if fields else {}, (merchant, name, known.replace("_", " ")))


def _digits_shown(card_number: str, last_four: str) -> str:
    return _last_four(last_four) or (_last_four(_digits(card_number)) if card_number else None) or ""


def _network(card_number: str, first_six: str, network: str) -> str:
    return network_of_name(network) if network else _network_of_number(first_six or _digits(card_number))


def _card(digits: str, known_network: str) -> Enrichment:
    card = {"masked": masked(digits), "last_four": digits} if digits else {}
    if known_network:
        card["network"] = known_network
    return Enrichment({"card": card} if card else {}, (known_network, digits))


class CardPayments(DeclaredStrategy):
    """`merchant.{name, category, mcc}`, `card.{masked, last_four, network}`, `direction`, as far as they are known."""

    name = "card"
    transaction_types = frozenset(
        {"card", "card_payment", "card_purchase", "card_refund", "card_transaction", "card_withdrawal", "debit_card"}
        | {"credit_card", "prepaid_card", "virtual_card", "pos", "pos_purchase", "atm", "atm_withdrawal"}
    )
    properties: Mapping[str, Any] = {
        "merchant": {"properties": {"name": _KEYWORD, "category": _KEYWORD, "mcc": _KEYWORD}},
        "card": {"properties": {"masked": _KEYWORD, "last_four": _KEYWORD, "network": _KEYWORD}},
        "direction": _KEYWORD,
    }
    vocabulary = Vocabulary(
        merchant="merchant_name merchant merchant_display_name merchant_descriptor statement_descriptor descriptor"
        " store",
        mcc="mcc merchant_category_code merchant_mcc category_code",
        category="merchant_category merchant_category_name merchant_type category",
        last_four="card_last_four card_last4 last_four last4 card_last_digits last_four_digits card_last_four_digits",
        card_number="card_number masked_card_number masked_pan masked_card card_mask card_masked pan card_pan card",
        first_six="card_bin bin card_first_six first_six card_iin iin",
        network="card_network card_brand card_scheme network brand scheme",
        direction=NAMES,
        note="note notes description memo message comment",
    )
    derived = MappingProxyType({"digits": _digits_shown, "known_network": _network})
    parts = (
        Part(_merchant, adds=("merchant",), repeats=True),
        Part(_card, adds=("card",), copies=("digits",)),
        DIRECTION,
        Text("note"),
    )


def _last_four(text: str) -> str | None:
    if len(text) == len("1234") and text.isdecimal() and text.isascii():
        return text
    if text.isdecimal() and len(text) < len("1234"):
        return as_ascii(text).zfill(4)  # a number has lost its zeros
    found = _LAST_FOUR.search(text)
    return found[0] if found else None


def _digits(text: str) -> str:
    return "" if len(text) > _MAX_NUMBER_CHARACTERS else text.replace(" ", "").replace("-", "")


def _network_of_number(number: str) -> str:
    found = _FIRST_DIGITS.match(number)
    return (found and found[0] != number[-4:] and network_of_number(found[0])) or ""
