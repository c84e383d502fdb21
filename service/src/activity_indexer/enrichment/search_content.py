"""The searchable content: one folded string of everything that people remember of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from activity_indexer.enrichment.caches import Cache
from activity_indexer.enrichment.text import ascii_or_folded, fold
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


class UsualContent:
    """The same text for transactions of which nothing has to be cut, out of texts that are folded or ASCII.

    What is not ASCII was folded apart and is cached if it repeats; so most texts are ASCII by now, and folding that is
    a matter of few operations, each on the whole text.
    """

    def __init__(self) -> None:
        self._heads = Cache(_head)

    def text(self, transaction: Transaction, day: str, terms: Sequence[str]) -> str | None:
        """The content, with these terms at its end; None when something is long, or an id cannot be printed.

        A term is printable, and was no longer than 1,024 characters before it was folded. There are at most twelve.
        """
        ids = f"{transaction.id} {transaction.user_id}"
        head = self._heads[
            transaction.transaction_type, transaction.product or "", transaction.status, transaction.currency
        ]
        texts = (ids, head, str(transaction.amount, "ascii"), day, *terms)
        text = " ".join(texts)
        if len(ids) > MAX_TERM_CHARACTERS or not head or len(text) > MAX_CHARACTERS or not ids.isprintable():
            return None
        if text.isascii():
            text = text.lower()
        else:
            text = " ".join([each.lower() if each.isascii() else ascii_or_folded(each) for each in texts])
        words = text.split()
        if len({*words}) < len(words):
            return " ".join(dict.fromkeys(words))
        return text if text.count(" ") == len(words) - 1 else " ".join(words)


def _head(texts: tuple[str, str, str, str]) -> tuple[str, int]:
    text = " ".join(texts)
    return (fold(text), len(text)) if len(text) <= MAX_TERM_CHARACTERS else ("", 0)


def _cut(content: str) -> str:
    whole = content[: MAX_CHARACTERS + 1].rpartition(" ")[0]
    return whole or content[:MAX_CHARACTERS]
