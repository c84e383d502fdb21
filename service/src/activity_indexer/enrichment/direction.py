"""Which way the money goes, seen from the user: `in` or `out`."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from activity_indexer.enrichment.vocabulary import word
from activity_indexer.event import Transaction

Direction = Literal["in", "out"]

NAMES: Final = "direction flow transfer_direction side operation action transfer_type p2p_type crypto_type role"
"""What producers call it, the clearest first."""

_IN: Final = frozenset(
    [
        "in",
        "incoming",
        "inbound",
        "received",
        "receive",
        "receiver",
        "recipient",
        "payee",
        "credit",
        "credited",
        "deposit",
        "deposited",
        "buy",
        "bought",
        "refund",
        "refunded",
        "reversal",
        "top_up",
        "topup",
        "cash_in",
        "payin",
    ]
)
_OUT: Final = frozenset(
    [
        "out",
        "outgoing",
        "outbound",
        "sent",
        "send",
        "sender",
        "payer",
        "debit",
        "debited",
        "withdraw",
        "withdrawal",
        "withdrawn",
        "sell",
        "sold",
        "transfer_out",
        "cash_out",
        "payout",
    ]
)


@lru_cache(maxsize=1024)
def direction_of(text: str) -> Direction | None:
    """The direction that a producer's word means."""
    known = word(text)
    return "in" if known in _IN else "out" if known in _OUT else None


@lru_cache(maxsize=1024)
def direction_of_type(transaction_type: str) -> Direction | None:
    """The direction that a type's last word gives away: `p2p_received`, `crypto_sell`."""
    if transaction_type.isalnum():
        return None
    return direction_of(word(transaction_type).rpartition("_")[2])


def direction_said(transaction: Transaction, said: str | None) -> Direction | None:
    """What the producer says, else what the type says."""
    direction = direction_of(said) if said else None
    return direction or direction_of_type(transaction.transaction_type)
