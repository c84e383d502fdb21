"""Which way the money goes, seen from the user: `in` or `out`."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from activity_indexer.enrichment.declared import Part
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import word

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
def direction_said(transaction_type: str, said: str) -> Direction | None:
    """What the producer's word means, else what the end of the type's name implies: `p2p_received`, `crypto_sell`."""
    direction = _meaning(word(said)) if said else None
    if direction is None and not transaction_type.isalnum():
        direction = _meaning(word(transaction_type).rpartition("_")[2])
    return direction


def _meaning(known: str) -> Direction | None:
    return "in" if known in _IN else "out" if known in _OUT else None


def _direction(transaction_type: str, direction: str) -> Enrichment:
    known = direction_said(transaction_type, direction)
    return Enrichment({"direction": known}) if known else Enrichment()


DIRECTION: Final = Part(_direction, adds=("direction",), repeats=True)
"""The part of a strategy that adds `direction`."""
