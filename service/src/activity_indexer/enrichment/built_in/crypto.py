"""Crypto movements: which asset, how much of it, on which network, and which address is at the other end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from msgspec import Raw

from activity_indexer.enrichment.direction import NAMES, Direction, direction_said
from activity_indexer.enrichment.reference.crypto import LONGEST_SYMBOL, asset_of, network_of
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary
from activity_indexer.event import Transaction

_KEYWORD: Final = {"type": "keyword"}
_VOCABULARY: Final = Vocabulary(
    symbol="asset_symbol asset symbol crypto_currency cryptocurrency crypto_symbol coin_symbol coin token_symbol token"
    " crypto_asset crypto ticker base_asset pair",
    asset_name="asset_name coin_name token_name crypto_name crypto_currency_name",
    network="network blockchain chain asset_network crypto_network blockchain_network network_name chain_name",
    quantity="quantity crypto_amount asset_amount coin_amount token_amount crypto_quantity units qty volume",
    satoshis="satoshis sats amount_sats amount_satoshis",
    wei="wei amount_wei",
    address="wallet_address counterparty_address address wallet external_address crypto_address",
    sender="from_address source_address sender_address from_wallet from",
    recipient="to_address destination_address recipient_address to_wallet destination to",
    peer_name="counterparty_name counterparty peer_name exchange exchange_name wallet_name wallet_label",
    hash="tx_hash transaction_hash txid tx_id hash txn_hash blockchain_tx_id onchain_hash",
    direction=NAMES,
    note="note notes message memo description comment",
)
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_MAX_DIGITS: Final = 80
_SMALLER_UNITS: Final = {"satoshis": -8, "wei": -18}


class CryptoMovements:
    """`asset.{symbol, name, network}`, `quantity`, `direction`, `counterparty` and `tx_hash`, as far as they are known.

    `quantity` is the absolute number of units with all its digits; `quantity_text` is the same without exponent.
    """

    name = "crypto"
    transaction_types = frozenset(
        {"crypto", "crypto_buy", "crypto_sell", "crypto_send", "crypto_sent", "crypto_receive", "crypto_received"}
        | {"crypto_deposit", "crypto_withdrawal", "crypto_swap", "crypto_trade", "crypto_transfer", "cryptocurrency"}
    )
    properties: Mapping[str, Any] = {
        "asset": {"properties": {"symbol": _KEYWORD, "name": _KEYWORD, "network": _KEYWORD}},
        "quantity": {"type": "double"},
        "quantity_text": _KEYWORD,
        "direction": _KEYWORD,
        "counterparty": {"properties": {"id": _KEYWORD, "name": _KEYWORD}},
        "tx_hash": _KEYWORD,
    }

    def enrich(self, transaction: Transaction, metadata: Mapping[str, Any]) -> Enrichment:
        """Read what the producer's metadata holds; what cannot be made out is left out."""
        said = _VOCABULARY.read(metadata)
        get = said.get
        asset, terms = _asset(get("symbol", ""), get("asset_name", ""), get("network", ""), transaction.currency)
        fields: dict[str, Any] = {}
        if asset:
            fields["asset"] = dict(asset)
        quantity = _quantity(transaction, said)
        if quantity:
            fields["quantity"] = Raw(quantity.encode())
            fields["quantity_text"] = quantity
        direction = direction_said(transaction.transaction_type, get("direction"))
        if direction:
            fields["direction"] = direction
        counterparty = _counterparty(said, direction)
        if counterparty:
            fields["counterparty"] = counterparty
        if "hash" in said:
            fields["tx_hash"] = said["hash"]
        return Enrichment(fields, (*terms, quantity, *counterparty.values(), get("hash", ""), get("note", "")))


@lru_cache(maxsize=4096)
def _asset(symbol: str, name: str, network: str, currency: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The fields of an asset, and the words to find it by; the currency is the asset when nothing else is said."""
    known = asset_of(symbol or name or currency)
    fields = {
        "symbol": known.symbol if known else _symbol(symbol),
        "name": known.name if known else name,
        "network": network_of(network) if network else known.network if known else "",
    }
    return {key: value for key, value in fields.items() if value}, (*fields.values(), name)


def _symbol(written: str) -> str:
    return written.upper() if written.isalnum() and len(written) <= LONGEST_SYMBOL else written


def _quantity(transaction: Transaction, said: Mapping[str, str]) -> str:
    if "quantity" in said:
        return _plain(said["quantity"])
    for unit, exponent in _SMALLER_UNITS.items():
        if unit in said:
            return _plain(said[unit], exponent)
    if asset_of(transaction.currency):
        return _plain(bytes(transaction.amount).strip().decode(errors="replace"))
    return ""


def _plain(text: str, exponent: int = 0) -> str:
    """The absolute number without exponent, every digit kept; empty when it is none, or too long to be of use."""
    if len(text) > _MAX_DIGITS:
        return ""
    if not exponent and _PLAIN.fullmatch(text):
        return text
    if not _NUMBER.fullmatch(text):
        return ""
    _, digits, own_exponent = Decimal(text).as_tuple()
    assert isinstance(own_exponent, int)  # noqa: S101 - for the type checker: the pattern lets no NaN through
    plain = f"{Decimal((0, digits, own_exponent + exponent)):f}"
    return plain if len(plain) <= _MAX_DIGITS else ""


def _counterparty(said: Mapping[str, str], direction: Direction | None) -> dict[str, str]:
    role = {"in": "sender", "out": "recipient"}.get(direction or "", "")
    found = {
        "id": said.get("address") or said.get(role) or said.get("recipient") or said.get("sender"),
        "name": said.get("peer_name"),
    }
    return {key: value for key, value in found.items() if value}
