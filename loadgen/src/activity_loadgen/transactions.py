"""Makes one transaction: a card payment, a transfer between people, or a crypto movement."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from activity_loadgen import vocabulary as words

T = TypeVar("T")
Transaction = dict[str, Any]

# Shares of transactions whose amount is a refund, and one that a 64-bit float cannot hold.
REFUND_SHARE: Final = 0.04
HUGE_AMOUNT_SHARE: Final = 0.002
MAX_MINOR_UNITS: Final = 250_000
BEYOND_DOUBLE: Final = 2**53 + 1


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One of the items, each as likely as the next."""
    return items[int(rng.random() * len(items))]


def make_transaction(rng: random.Random, kind: str, user_id: str, created_at: str, run: str) -> Transaction:
    """Build a whole transaction; `amount` is raw JSON so that its text stays exact.

    `kind` is card, p2p or crypto; `created_at` is RFC 3339; `run` goes into `metadata.load_run`.
    """
    currency, decimals = pick(rng, words.CURRENCIES)
    return {
        "id": make_uuid(rng),
        "user_id": user_id,
        "transaction_type": kind,
        "product": words.PRODUCTS[kind],
        "status": pick(rng, words.FIRST_STATUSES),
        "currency": currency,
        "amount": msgspec.Raw(make_amount(rng, decimals).encode()),
        "created_at": created_at,
        "metadata": {**_METADATA[kind](rng), "load_run": run},
    }


def change(rng: random.Random, before: Transaction, number: int) -> Transaction:
    """The whole transaction after its `number`-th update: another status, sometimes another amount."""
    after = {**before, "status": pick(rng, words.LATER_STATUSES)}
    after["metadata"] = {**before["metadata"], "revision": str(number)}
    if rng.random() < 0.25:
        decimals = dict(words.CURRENCIES)[before["currency"]]
        after["amount"] = msgspec.Raw(make_amount(rng, decimals).encode())
    return after


def make_uuid(rng: random.Random) -> str:
    """A version 4 UUID out of the given randomness."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def make_amount(rng: random.Random, decimals: int) -> str:
    """An amount as exact JSON text with the currency's decimals, trailing zeros kept."""
    if rng.random() < HUGE_AMOUNT_SHARE:
        return str(BEYOND_DOUBLE + 2 * int(rng.random() * 1_000_000))
    units = 1 + int(rng.random() ** 3 * MAX_MINOR_UNITS)
    sign = "-" if rng.random() < REFUND_SHARE else ""
    return sign + decimal_text(units, decimals)


def decimal_text(units: int, decimals: int) -> str:
    """`units` of the smallest part as decimal text: (1050, 2) is 10.50."""
    if decimals == 0:
        return str(units)
    whole, part = divmod(units, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"


def _card(rng: random.Random) -> Transaction:
    merchant = pick(rng, words.MERCHANTS)
    return {
        "merchant_name": merchant.name,
        "merchant_category_code": merchant.mcc,
        "merchant_city": merchant.city,
        "merchant_country": merchant.country,
        "card_last_four": f"{int(rng.random() * 10_000):04d}",
        "card_network": pick(rng, words.CARD_NETWORKS),
        "entry_mode": pick(rng, words.ENTRY_MODES),
    }


def _p2p(rng: random.Random) -> Transaction:
    return {
        "direction": "sent" if rng.random() < 0.5 else "received",
        "peer_id": f"peer_{int(rng.random() * 100_000):05d}",
        "peer_name": f"{pick(rng, words.GIVEN_NAMES)} {pick(rng, words.FAMILY_NAMES)}",
        "channel": pick(rng, words.CHANNELS),
        "note": pick(rng, words.NOTES),
    }


def _crypto(rng: random.Random) -> Transaction:
    asset = pick(rng, words.ASSETS)
    network = pick(rng, asset.networks)
    return {
        "asset": asset.symbol,
        "asset_name": asset.name,
        "network": network,
        "side": pick(rng, words.SIDES),
        "quantity": decimal_text(1 + int(rng.random() ** 4 * 25 * 10**asset.decimals), asset.decimals),
        "wallet_address": _address(rng, network),
    }


def _address(rng: random.Random, network: str) -> str:
    digits = f"{rng.getrandbits(160):040x}"
    return f"bc1q{digits[:38]}" if network in {"bitcoin", "lightning"} else f"0x{digits}"


_METADATA: Final[dict[str, Callable[[random.Random], Transaction]]] = {
    "card": _card,
    "p2p": _p2p,
    "crypto": _crypto,
}
