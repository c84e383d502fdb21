"""The searchable content: one folded string of everything that users remember of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from activity_indexer.enrichment.caches import Cache
from activity_indexer.enrichment.text import fold, unique_words_of, words_of
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
    """The same text for transactions of which nothing has to be cut, put together from folded words.

    Most words come out of caches, where their hashes are kept with them: to see that no word appears twice is
    then cheaper than to fold the whole text.
    """

    def __init__(self) -> None:
        self._heads = Cache(_head, lambda key, _found: sum(map(len, key)))

    def text(self, transaction: Transaction, amount: str, day: str, words: Sequence[str]) -> str | None:
        """The content, with these words at its end; None when something is long.

        The words are those of at most twelve texts, none of them longer than 1,024 characters.
        """
        own = f"{transaction.id} {transaction.user_id}"
        head = self._heads[
            transaction.transaction_type, transaction.product or "", transaction.status, transaction.currency
        ]
        found = (*words_of(own), *head, amount.lower(), day, *words)
        content = " ".join(found if len({*found}) == len(found) else dict.fromkeys(found))
        is_usual = head and len(own) + len(amount) < MAX_TERM_CHARACTERS and len(content) <= MAX_CHARACTERS
        return content if is_usual else None


def _head(texts: tuple[str, str, str, str]) -> Sequence[str]:
    text = " ".join(texts)
    return unique_words_of(text) if len(text) <= MAX_TERM_CHARACTERS else ()


def _cut(content: str) -> str:
    whole = content[: MAX_CHARACTERS + 1].rpartition(" ")[0]
    return whole or content[:MAX_CHARACTERS]
