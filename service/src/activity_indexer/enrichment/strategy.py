"""What a strategy is, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from activity_indexer.event import Transaction


class Enrichment(msgspec.Struct, frozen=True, gc=False):
    """What a strategy adds to one document: an immutable value.

    `fields` go below `enrichment` and must be JSON to msgspec (`msgspec.Raw` keeps the digits of a number);
    `terms` are words and phrases, as users write them, that `search_content` is to find.
    """

    fields: Mapping[str, Any] = {}
    terms: Sequence[str] = ()


class EnrichmentStrategy(Protocol):
    """Adds fields and search terms to the transactions of some types.

    `name` is what `CONSUMER_ENRICHMENTS` lists. `transaction_types` match without regard to case, and a blank or a
    hyphen matches an underscore. `properties` is the Elasticsearch mapping of the fields, below `enrichment`.
    """

    @property
    def name(self) -> str:
        """Short, unique and lasting."""

    @property
    def transaction_types(self) -> frozenset[str]:
        """The types that this strategy is for."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """Field name → mapping, as Elasticsearch's `properties` has it."""

    def enrich(self, transaction: Transaction, metadata: Mapping[str, Any]) -> Enrichment:
        """What to add; `metadata` is decoded JSON, with numbers that have a fraction as Decimal.

        Whatever it raises sends this one event to the dead letters.
        """
