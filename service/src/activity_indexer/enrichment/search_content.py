"""The searchable content: one folded string of everything that people remember of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from activity_indexer.enrichment.text import fold
from activity_indexer.event import Transaction

MAX_CHARACTERS: Final = 4096
MAX_TERM_CHARACTERS: Final = 1024


def search_content(transaction: Transaction, terms: Sequence[str], day: str) -> str:
    """At most 4,096 characters: id, user, type, product, status, currency, amount, the terms and the day."""
    parts = (
        transaction.id,
        transaction.user_id,
        transaction.transaction_type,
        transaction.product or "",
        transaction.status,
        transaction.currency,
        bytes(transaction.amount).decode(errors="replace"),
        day,
        *terms,
    )
    text = " ".join(parts)
    if len(text) > MAX_CHARACTERS:
        text = " ".join([part[:MAX_TERM_CHARACTERS] for part in parts])[: 4 * MAX_CHARACTERS]
    content = fold(text)
    return content if len(content) <= MAX_CHARACTERS else _cut(content)


def _cut(content: str) -> str:
    whole = content[: MAX_CHARACTERS + 1].rpartition(" ")[0]
    return whole or content[:MAX_CHARACTERS]
