"""The fast path of declared strategies: a plan is compiled once for each shape of metadata, and run for each event.

The shape is the transaction type and the keys of the metadata. All that depends on the shape alone is found out when
the plan is compiled: which key says which thing, which parts of the strategy have something to read, and what is the
same for all events of the shape. What is left becomes one Python function (`source.py` writes it): it cleans the texts,
looks up or calls the parts, and puts what they add together.

A plan makes JSON text and folded words, not dictionaries and terms. It takes the usual events only. For any other it
raises (`Unusual`, or whatever its code trips over), and the registry enriches the event by `DeclaredStrategy.enrich`,
which takes all events: the results of the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from activity_indexer.enrichment.caches import Cache
from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text, fields_of
from activity_indexer.enrichment.search_content import MAX_TERM_CHARACTERS
from activity_indexer.enrichment.source import (
    PLACEHOLDER,
    Found,
    Plan,
    Result,
    Unusual,
    Values,
    Writer,
    encode,
    placeholder,
)
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.text import KEYWORD_CHARACTERS, is_shown_whole, words_of
from activity_indexer.event import Transaction

MAX_PARTS: Final = 12
"""Most parts on the fast path: all their terms together are below the limits of `search_content`."""

SIGHTINGS: Final = 8
"""A shape is compiled when it was seen so often: one that seldom comes is not worth it."""

Shape = tuple[str, ...]
Entry = list[Plan | int | None]
"""The plan of a shape, or how often the shape was seen, or None: it shall have no plan."""


class Compiler:
    """The plans of one strategy; `check` looks at what its parts return, if the strategy is not one of our own."""

    def __init__(self, strategy: DeclaredStrategy, check: Callable[[Enrichment], object] | None = None) -> None:
        self.parts = tuple(strategy.parts)
        self.fields = fields_of(strategy)
        self._strategy = strategy
        self._vocabulary = strategy.vocabulary
        self._check = check
        self._plans: Cache[Shape, Entry] = Cache(_unseen, _characters, entries=1024, heaviest=4096)
        self._results = {
            part: Cache(partial(self._first_result, part), partial(_weight, part))
            for part in self.parts
            if isinstance(part, Part) and part.is_cached
        }

    def run(self, transaction: Transaction, values: Values) -> Found:
        """What the strategy adds to the document of a transaction with this metadata. Raises for an unusual one."""
        entry = self._plans[transaction.transaction_type, *values]
        plan = entry[0]
        if plan is None:
            raise Unusual
        if isinstance(plan, int):
            plan = self._plan(entry, plan, transaction.transaction_type, values)
        return plan(transaction, values)

    def source(self, transaction_type: str, keys: Iterable[str]) -> str | None:
        """The text of the plan for a shape, to be read; None when it shall have no plan."""
        writer = self._written(transaction_type, keys)
        return writer.text if writer else None

    def _plan(self, entry: Entry, seen: int, transaction_type: str, values: Values) -> Plan:
        """The plan of a shape that has none yet. Raises Unusual when it shall have none now."""
        if seen < SIGHTINGS:
            entry[0] = seen + 1
            raise Unusual
        entry[0] = None
        writer = self._written(transaction_type, values)
        if writer is None:
            raise Unusual
        plan = entry[0] = writer.function()
        return plan

    def _written(self, transaction_type: str, keys: Iterable[str]) -> Writer | None:
        said = self._vocabulary.keys_of(keys)
        names = self._vocabulary.things | self._strategy.derived_parts.keys()
        if said is None or len(self.parts) > MAX_PARTS or not all(map(str.isidentifier, names)):
            return None
        writer = Writer(self._strategy, transaction_type, said)
        for part in self.parts:
            if isinstance(part, Text):
                writer.add_text(part)
            elif part in self._results:
                writer.add_cached(part, self._results[part])
            else:
                writer.add_called(part, partial(self._made, part) if self._check else partial(_made, part.make))
        return writer

    def _made(self, part: Part, *arguments: Any) -> Found:
        added = part.make(*arguments)
        self._check_added(part, added)
        return _found(added)

    def _first_result(self, part: Part, raw: tuple[Any, ...]) -> Result:
        """What a part makes of these texts, with placeholders in it."""
        added = part.make(*self._cleaned(part, raw))
        self._check_added(part, added)
        members, words, places = _with_places(part, added)
        return members, tuple(dict.fromkeys(words)), places

    def _cleaned(self, part: Part, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Things come as the metadata says them, so that a cleaned text need not be made to find a result."""
        cleaned = []
        for name, text in zip(part.reads, arguments, strict=True):
            if name in part.copies:
                cleaned.append(text)
            elif name in self._vocabulary.things:
                if type(text) is not str:
                    raise Unusual
                cleaned.append(self._vocabulary.cleaner(name)(text))
            elif isinstance(text, str) and PLACEHOLDER in text:  # it would be taken for a copy
                raise Unusual
            else:
                cleaned.append(text)
        return tuple(cleaned)

    def _check_added(self, part: Part, added: Enrichment) -> None:
        if self._check:
            self._check(added)
        part.check(added)


def _made(make: Callable[..., Enrichment], *arguments: Any) -> Found:
    return _found(make(*arguments))


def _found(added: Enrichment) -> Found:
    text = " ".join(added.terms)
    if len(text) > MAX_TERM_CHARACTERS:
        raise Unusual
    fields = added.fields
    return b"," + encode(fields)[1:-1] if fields else b"", words_of(text)


def _with_places(part: Part, added: Enrichment) -> Result:
    """As `_found`, with the places of the copies. Raises Unusual when a text is not just copied, after other terms."""
    placeholders = {placeholder(place): place for place in range(len(part.copies))}
    terms = [term for term in added.terms if term]
    own = [term for term in terms if term not in placeholders]
    places = [placeholders.get(term, -1) for term in terms[len(own) :]]
    members, words = _found(Enrichment(added.fields, own))
    rest = members
    for each in placeholders:
        members = members.replace(encode(each)[1:-1], each.encode())
        rest = rest.replace(encode(each)[1:-1], b"").replace(each.encode(), b"")
    changed = b"\\u0001" in rest or PLACEHOLDER.encode() in rest or any(PLACEHOLDER in term for term in own)
    if changed or -1 in places or sum(map(len, own)) + KEYWORD_CHARACTERS * len(places) > MAX_TERM_CHARACTERS:
        raise Unusual
    return members, words, places


def _weight(part: Part, raw: tuple[Any, ...], result: Result) -> int:
    """The characters of a result and of its texts; none for texts with card numbers, which are not kept in memory."""
    placeholders = [placeholder(place) for place in range(len(part.copies))]
    texts = [text for text in raw if text and text not in placeholders]
    if not all(map(is_shown_whole, texts)):
        return 0
    return sum(map(len, texts)) + len(raw) + len(result[0]) + sum(map(len, result[1]))


def _unseen(_shape: Shape) -> Entry:
    return [0]


def _characters(shape: Shape, _entry: Entry) -> int:
    return sum(map(len, shape)) + len(shape)
