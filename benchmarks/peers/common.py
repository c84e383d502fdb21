"""The same work for every peer: parse, check, version from the event, enrichment by type, searchable text.

It is what one writes in an afternoon: no dead letters, no deduplication, no metrics, no order of events that share a
timestamp. Settings come from the environment, as `make bench` sets it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

TOPIC = os.environ["TOPIC"]
GROUP = os.environ["GROUP"]
KAFKA = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
ELASTICSEARCH = os.environ["ELASTICSEARCH_URL"]
INDEX = os.environ["INDEX"]
BATCH = int(os.environ["BATCH"])

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANKS = {"transaction.created": 0, "transaction.updated": 1, "transaction.deleted": 2}
CATEGORIES = {
    "4121": "transport",
    "5411": "groceries",
    "5462": "groceries",
    "5812": "restaurants",
    "5814": "fast_food",
}
ENRICHED_AT = "2026-01-01T00:00:00Z"


def version_of(timestamp: str, kind: str) -> int:
    """A number that grows with the event's time."""
    moment = datetime.fromisoformat(timestamp)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 4 + RANKS[kind]


def card(metadata: dict[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields and search terms of a card payment."""
    name, code = metadata.get("merchant_name", ""), metadata.get("merchant_category_code", "")
    category, last = CATEGORIES.get(code, "other"), metadata.get("card_last_four", "")
    network = metadata.get("card_network", "")
    fields = {
        "merchant": {"name": name.title(), "category": category, "mcc": code},
        "card": {"masked": "•••• " + last, "last_four": last, "network": network.title()},
    }
    return fields, (name, category, network, last)


def peer_to_peer(metadata: dict[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields and search terms of a transfer."""
    peer, name = metadata.get("peer_id", ""), metadata.get("peer_name", "")
    direction = "in" if metadata.get("direction") == "received" else "out"
    fields = {"direction": direction, "counterparty": {"id": peer, "name": name}}
    return fields, (peer, name, metadata.get("note", ""))


def crypto(metadata: dict[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields and search terms of a trade."""
    symbol, name, network = (metadata.get(key, "") for key in ("asset", "asset_name", "network"))
    quantity, wallet = metadata.get("quantity", ""), metadata.get("wallet_address", "")
    fields = {
        "asset": {"symbol": symbol, "name": name, "network": network.title()},
        "direction": "out" if metadata.get("side") == "sell" else "in",
        "quantity": quantity,
        "counterparty": {"id": wallet},
    }
    return fields, (symbol, name, network, quantity, wallet)


STRATEGIES = {"card": card, "p2p": peer_to_peer, "crypto": crypto}


def enrich(event: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The document and its version. Raises on what is no event."""
    kind, transaction = event["event_type"], event["transaction"]
    version = version_of(event["timestamp"], kind)
    if not transaction["id"] or not transaction["user_id"]:
        raise ValueError("empty id")
    amount, day = transaction["amount"], transaction["created_at"][:10]
    float(amount)
    fields, terms = STRATEGIES[transaction["transaction_type"]](transaction.get("metadata") or {})
    known = ("id", "user_id", "transaction_type", "product", "status", "currency")
    words = " ".join((*(transaction.get(name) or "" for name in known), str(amount), day, *terms)).lower().split()
    transaction |= {
        "event_type": kind,
        "_updated_at": event["timestamp"],
        "_enriched": True,
        "_enriched_at": ENRICHED_AT,
        "enrichment": {
            "day": day,
            "month": day[:7],
            "amount_absolute": abs(amount),
            "sign": "negative" if amount < 0 else "positive",
            **fields,
        },
        "search_content": " ".join(dict.fromkeys(words)),
    }
    return transaction, version


def action(event: dict[str, Any]) -> dict[str, Any]:
    """What `async_bulk` takes."""
    document, version = enrich(event)
    return {
        "_op_type": "index",
        "_index": INDEX,
        "_id": document["id"],
        "_version": version,
        "_version_type": "external",
        "_source": document,
    }
