"""Time of enrichment and searchable content for one event, by type: `python benchmarks/enrichment.py [events]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from activity_indexer.enrichment import Registry, load_enrichments
from activity_indexer.event import CREATED, Event, Transaction

METADATA: dict[str, dict[str, Any]] = {
    "card": {"merchant_name": "STARBUCKS #1234 SEATTLE", "card_last_four": "1234", "mcc": "5814", "network": "visa"},
    "p2p": {"direction": "sent", "peer_id": "user_42", "peer_name": "Maria Lopez", "note": "dinner on friday"},
    "crypto": {"asset": "BTC", "network": "bitcoin", "side": "buy", "quantity": "0.00150000", "address": "bc1qxy2k"},
    "accents": {"direction": "received", "peer_id": "user_42", "peer_name": "José Núñez", "note": "cena con la tía"},
    "unknown": {"anything": "else"},
}
TYPES = {"accents": "p2p"}


def events(kind: str, count: int) -> list[Event]:
    """Different transactions of one kind: ids, users and times differ, and merchants repeat."""
    metadata = Raw(msgspec.json.encode(METADATA[kind]))
    return [
        Event(
            CREATED,
            Transaction(
                id=f"6f9619ff-8b86-d011-b42d-{number:012d}",
                user_id=f"user_{number % 1000}",
                transaction_type=TYPES.get(kind, kind),
                status="completed",
                currency="USD",
                amount=Raw(b"%d.%02d" % (number, number % 100)),
                created_at=f"2024-01-{number % 28 + 1:02d}T12:{number % 60:02d}:00Z",
                product="Card",
                metadata=metadata,
            ),
            b"{}",
            number,
            "2024-01-01T12:00:00Z",
            number * 4,
        )
        for number in range(1, count + 1)
    ]


def microseconds(registry: Registry, sample: Sequence[Event]) -> float:
    """Best of five runs, for one event."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for event in sample:
            registry(event)
        best = min(best, time.process_time() - began)
    return best / len(sample) * 1e6


def main() -> None:
    """Print a line for each kind."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    registry = load_enrichments()
    for kind in METADATA:
        print(f"{kind:8} {microseconds(registry, events(kind, count)):6.2f} µs/event")


if __name__ == "__main__":
    main()
