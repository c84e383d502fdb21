"""Crypto movements: which asset, how much of it, on which network, and which address is at the other end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw

from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text
from activity_indexer.enrichment.direction import NAMES, direction_said
from activity_indexer.enrichment.reference.crypto import LONGEST_SYMBOL, asset_of, network_of
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary

_KEYWORD: Final = {"type": "keyword"}
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN: Final = re.compile(r"(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_MAX_DIGITS: Final = 80
_SATOSHI: Final = -8
_WEI: Final = -18


@lru_cache(maxsize=4096)
def _asset(symbol: str, asset_name: str, network: str, currency: str) -> Enrichment:
    """The currency is the asset when nothing else is said."""
    known = asset_of(symbol or asset_name or currency)
    asset = {
        "symbol": known.symbol if known else _symbol(symbol),
        "name": known.name if known else asset_name,
        "network": network_of(network) if network else known.network if known else "",
    }
    fields = {key: value for key, value in asset.items() if value}
    return Enrichment({"asset": fields} if fields else {}, (*asset.values(), asset_name))


def _symbol(written: str) -> str:
    return written.upper() if written.isalnum() and len(written) <= LONGEST_SYMBOL else written


def _units(quantity: str, satoshis: str, wei: str, amount: Raw, currency: str) -> str:
    if quantity:
        return _plain(quantity)
    if satoshis:
        return _plain(satoshis, _SATOSHI)
    if wei:
        return _plain(wei, _WEI)
    return _plain(bytes(amount).strip().decode(errors="replace")) if asset_of(currency) else ""


def _quantity(units: str) -> Enrichment:
    return Enrichment({"quantity": Raw(units.encode()), "quantity_text": units} if units else {}, (units,))


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


def _way(transaction_type: str, direction: str) -> str:
    return direction_said(transaction_type, direction) or ""


def _movement(way: str, address: str, sender: str, recipient: str, peer_name: str) -> Enrichment:
    fields: dict[str, Any] = {"direction": way} if way else {}
    other = address or (sender if way == "in" else recipient if way == "out" else "") or recipient or sender
    if other:
        fields["counterparty"] = {"id": other, "name": peer_name} if peer_name else {"id": other}
    elif peer_name:
        fields["counterparty"] = {"name": peer_name}
    return Enrichment(fields, (other, peer_name))


class CryptoMovements(DeclaredStrategy):
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
    vocabulary = Vocabulary(
        symbol="asset_symbol asset symbol crypto_currency cryptocurrency crypto_symbol coin_symbol coin token_symbol"
        " token crypto_asset crypto ticker base_asset pair",
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
    derived = MappingProxyType({"units": _units, "way": _way})
    parts = (
        Part(_asset, adds=("asset",), repeats=True),
        Part(_quantity, adds=("quantity", "quantity_text"), copies=("units",)),
        Part(_movement, adds=("direction", "counterparty"), copies=("address", "sender", "recipient", "peer_name")),
        Text("hash", adds="tx_hash"),
        Text("note"),
    )
