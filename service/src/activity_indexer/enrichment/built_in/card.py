"""Card payments: the merchant, what it sells, and the card, by its last four digits alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from activity_indexer.enrichment.card_numbers import as_ascii, masked
from activity_indexer.enrichment.direction import NAMES, direction_said
from activity_indexer.enrichment.merchants import merchant_of
from activity_indexer.enrichment.reference.cards import network_of_name, network_of_number
from activity_indexer.enrichment.reference.merchant_categories import category_of_code, category_of_text, code_of
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary
from activity_indexer.event import Transaction

_KEYWORD: Final = {"type": "keyword"}
_VOCABULARY: Final = Vocabulary(
    merchant="merchant_name merchant merchant_display_name merchant_descriptor statement_descriptor descriptor store",
    mcc="mcc merchant_category_code merchant_mcc category_code",
    category="merchant_category merchant_category_name merchant_type category",
    last_four="card_last_four card_last4 last_four last4 card_last_digits last_four_digits card_last_four_digits",
    card_number="card_number masked_card_number masked_pan masked_card card_mask card_masked pan card_pan card",
    first_six="card_bin bin card_first_six first_six card_iin iin",
    network="card_network card_brand card_scheme network brand scheme",
    direction=NAMES,
    note="note notes description memo message comment",
)
_LAST_FOUR: Final = re.compile(r"\d{4}(?=\W*$)", re.ASCII)
_FIRST_DIGITS: Final = re.compile(r"\d{4,}", re.ASCII)
_MAX_NUMBER_CHARACTERS: Final = 64


class CardPayments:
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

    def enrich(self, transaction: Transaction, metadata: Mapping[str, Any]) -> Enrichment:
        """Read what the producer's metadata holds; what cannot be made out is left out."""
        said = _VOCABULARY.read(metadata)
        get = said.get
        merchant, terms = _merchant(get("merchant", ""), get("mcc", ""), get("category", ""))
        card = _card(said)
        fields: dict[str, Any] = {}
        if merchant:
            fields["merchant"] = dict(merchant)
        if card:
            fields["card"] = card
            terms = (*terms, card.get("network", ""), card.get("last_four", ""))
        direction = direction_said(transaction.transaction_type, get("direction"))
        if direction:
            fields["direction"] = direction
        note = get("note")
        return Enrichment(fields, (*terms, note) if note else terms)


@lru_cache(maxsize=4096)
def _merchant(printed: str, mcc: str, own_category: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The fields of a merchant, and the words to find it by."""
    name, by_name = merchant_of(printed) if printed else ("", None)
    code = code_of(mcc) or code_of(own_category)
    own = None if code_of(own_category) else category_of_text(own_category)
    category = (code and category_of_code(code)) or own or by_name or ""
    fields = {"name": name, "category": category, "mcc": code}
    return {key: value for key, value in fields.items() if value}, (printed, name, category.replace("_", " "))


def _card(said: Mapping[str, str]) -> dict[str, str]:
    card: dict[str, str] = {}
    number = _digits(said["card_number"]) if "card_number" in said else ""
    last_four = (_last_four(said["last_four"]) if "last_four" in said else None) or _last_four(number)
    if last_four:
        card["masked"] = masked(last_four)
        card["last_four"] = last_four
    network = network_of_name(said["network"]) if "network" in said else _network(said.get("first_six", "") or number)
    if network:
        card["network"] = network
    return card


def _last_four(text: str) -> str | None:
    if len(text) == len("1234") and text.isdecimal() and text.isascii():
        return text
    if text.isdecimal() and len(text) < len("1234"):
        return as_ascii(text).zfill(4)  # a number has lost its zeros
    found = _LAST_FOUR.search(text)
    return found[0] if found else None


def _digits(text: str) -> str:
    return "" if len(text) > _MAX_NUMBER_CHARACTERS else text.replace(" ", "").replace("-", "")


def _network(number: str) -> str | None:
    found = _FIRST_DIGITS.match(number)
    return network_of_number(found[0]) if found and found[0] != number[-4:] else None
