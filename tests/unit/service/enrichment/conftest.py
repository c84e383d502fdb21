"""Enriching one transaction, given what differs from an ordinary one."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from activity_indexer.enrichment import Registry, load_enrichments
from activity_indexer.event import CREATED, Event, Transaction


class Added:
    """What became of one event: `fields` as JSON has them, `text` as it is sent, `content` and `ran`."""

    def __init__(self, registry: Registry, event: Event) -> None:
        found = registry(event)
        self.ran = found.ran
        self.text = found.fields.decode()
        self.content: str = json.loads(found.search_content)
        self.fields: dict[str, Any] = json.loads(self.text)
        self.words = self.content.split()


def make_event(transaction_type: str = "card", metadata: object = None, **changes: Any) -> Event:
    raw = metadata if isinstance(metadata, bytes) else json.dumps(metadata or {}).encode()
    fields = {
        "id": "tx-1",
        "user_id": "user_1",
        "transaction_type": transaction_type,
        "product": "Card",
        "status": "completed",
        "currency": "USD",
        "amount": "100.50",
        "created_at": "2024-01-01T12:00:00Z",
    } | changes
    amount = Raw(fields.pop("amount").encode())
    return Event(CREATED, Transaction(**fields, amount=amount, metadata=Raw(raw)), b"{}", 1, "1970-01-01T00:00:00Z", 4)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_enrichments()


@pytest.fixture(scope="session")
def enrich(registry: Registry) -> Callable[..., Added]:
    def enriched(transaction_type: str = "card", metadata: object = None, **changes: Any) -> Added:
        return Added(registry, make_event(transaction_type, metadata, **changes))

    return enriched


@pytest.fixture(scope="session")
def added_by() -> type[Added]:
    return Added


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    return make_event
