"""CPU time of enrichment and searchable content for one event, by kind: `python benchmarks/enrichment.py [events]`.

`--plans` prints the source of the plan of each kind instead.

Each kind is measured with metadata that repeats and with values that are all different; with the plans of declared
strategies, and without plans. Times are the best of several rounds: compare them with each other.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from activity_indexer.enrichment import load_enrichments
from activity_indexer.event import CREATED, Event, Transaction
from activity_indexer.ports import Enriched

METADATA: dict[str, dict[str, Any]] = {
    "card": {"merchant_name": "STARBUCKS #1234 SEATTLE", "card_last_four": "1234", "mcc": "5814", "network": "visa"},
    "p2p": {"direction": "sent", "peer_id": "user_42", "peer_name": "Maria Lopez", "note": "dinner on friday"},
    "crypto": {"asset": "BTC", "network": "bitcoin", "side": "buy", "quantity": "0.00150000", "address": "bc1qxy2k"},
    "accents": {"direction": "received", "peer_id": "user_42", "peer_name": "José Núñez", "note": "cena con la tía"},
    "nested": {"merchant": {"name": "STARBUCKS #1234 SEATTLE", "mcc": 5814}, "card": {"last_four": "1234"}},
    "unknown": {"anything": "else"},
}
TYPES = {"accents": "p2p", "nested": "card"}
KEPT = {"direction", "side", "mcc"}
"""Names whose values are few, whatever the traffic."""

ROUNDS = 5


def different(rng: random.Random, key: str, value: object) -> object:
    """Another value of the same kind: other letters and digits in the same places."""
    if isinstance(value, dict):
        return {inner: different(rng, inner, each) for inner, each in value.items()}
    if key in KEPT or not isinstance(value, str):
        return value
    return "".join(
        rng.choice("0123456789") if each.isdecimal() else rng.choice("abcdefgh") if each.isalpha() else each
        for each in value
    )


def events(kind: str, count: int, *, repeated: bool) -> list[Event]:
    """Different transactions of one kind: ids, users and times differ, and the metadata does or does not."""
    rng = random.Random(kind)  # noqa: S311 - reproducible, not secret
    metadata = METADATA[kind]
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
                metadata=Raw(msgspec.json.encode(metadata if repeated else different(rng, "", metadata))),
            ),
            b"{}",
            number,
            "2024-01-01T12:00:00Z",
            number * 4,
        )
        for number in range(1, count + 1)
    ]


def microseconds(ways: Sequence[Callable[[Event], Enriched]], sample: Sequence[Event]) -> list[float]:
    """For each way its best round, for one event; rounds are taken in turn."""
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for at, way in enumerate(ways):
            began = time.process_time()
            for event in sample:
                way(event)
            best[at] = min(best[at], time.process_time() - began)
    return [seconds / len(sample) * 1e6 for seconds in best]


def main() -> None:
    """Print a line for each kind, or its plan."""
    if "--plans" in sys.argv:
        registry = load_enrichments()
        for kind, metadata in METADATA.items():
            print(f"# {kind}\n{registry.plans(TYPES.get(kind, kind), metadata)}")
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"{'CPU µs an event':24} with plans   without")
    for kind in METADATA:
        for repeated in (True, False):
            registry = load_enrichments()
            times = microseconds((registry, registry.without_plan), events(kind, count, repeated=repeated))
            print(f"{kind:10}{'repeated' if repeated else 'all different':14}{times[0]:10.2f}{times[1]:10.2f}")


if __name__ == "__main__":
    main()
