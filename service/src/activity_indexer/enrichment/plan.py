"""The fast path of declared strategies: a plan is compiled once for each shape of metadata, and run for each event.

The shape is the transaction type and the keys of the metadata. All that depends on the shape alone is found out when
the plan is compiled: which key says which thing, which parts of the strategy have something to read, and which results
are cached. What is left for an event: decode the metadata into one flat dictionary, clean the texts, call the parts.

A plan makes JSON text and words, not dictionaries and terms, so that the results of the parts only have to be put
together. It takes the usual events only. For any other it raises (`Unusual`, or whatever its code trips over), and the
registry enriches the event by `DeclaredStrategy.enrich`, which takes all events: the results of the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from activity_indexer.enrichment.caches import Cache
from activity_indexer.enrichment.card_numbers import SHORTEST
from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text, getter
from activity_indexer.enrichment.search_content import MAX_TERM_CHARACTERS
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.text import is_shown_whole, words_of
from activity_indexer.event import Transaction

MAX_PARTS: Final = 12
"""Most parts on the fast path: all their terms together are below the limits of `search_content`."""

SIGHTINGS: Final = 8
"""A shape is compiled when it was seen so often: one that never comes again is not worth it."""

Values = dict[str, Any]
"""The metadata of one event, to which a run adds: texts are cleaned in place, attributes have keys of their own."""

Found = tuple[bytes, Sequence[str]]
"""What a part adds: members of a JSON object, each with a comma before it, and folded words."""

Shape = tuple[str, ...]
Piece = Callable[[Values], Found]

_OWN: Final = "."
"""How the keys begin that are not the producer's."""

_NOT_SAID: Final = _OWN
_TYPE: Final = f"{_OWN}transaction_type"
_NO_METADATA: Final = Raw()
_NOTHING: Final[Found] = (b"", ())

_decode: Final = msgspec.json.Decoder(dict[str, str | int | float | bool | list[Any] | None]).decode
"""Refuses objects in the metadata: what is in them may be said, too."""

encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Unusual(Exception):
    """An event that the fast path does not take."""


class Plan(NamedTuple):
    """How to enrich events of one shape: texts to clean, values to add, and the compiled parts."""

    texts: tuple[tuple[str, Callable[[Any], str]], ...]
    constants: Mapping[str, str]
    attributes: tuple[tuple[str, Callable[[Transaction], Any]], ...]
    pieces: tuple[Piece, ...]


class Compiler:
    """The plans of one strategy; `check` looks at what its parts return, if the strategy is not one of our own."""

    def __init__(self, strategy: DeclaredStrategy, check: Callable[[Enrichment], object] | None = None) -> None:
        self._vocabulary = strategy.vocabulary
        self._parts = tuple(strategy.parts)
        self._check = check
        self._plans: Cache[Shape, list[Plan | int | None]] = Cache(_unseen, entries=1024, heaviest=4096)
        unique = {
            name for part in self._parts if not (isinstance(part, Part) and part.repeats) for name in _reads(part)
        }
        self._results = {
            part: Cache(partial(self._first_result, part))
            for part in self._parts
            if isinstance(part, Part) and part.repeats and not unique & self._vocabulary.things & set(part.reads)
        }

    def run(self, transaction: Transaction) -> tuple[bytes, list[str]]:
        """What the strategy adds to the document of this transaction. Raises for an unusual one."""
        metadata = transaction.metadata
        values: Values = _decode(metadata) if metadata != _NO_METADATA else {}
        entry = self._plans[transaction.transaction_type, *values]
        plan = entry[0]
        if type(plan) is not Plan:
            plan = self._plan(entry, transaction.transaction_type, values)
        for key, clean in plan.texts:
            text = values[key]
            if not text.isalnum() or len(text) >= SHORTEST:  # raises for a value that is no text
                values[key] = clean(text)
        values.update(plan.constants)
        for key, attribute in plan.attributes:
            values[key] = attribute(transaction)
        members = b""
        words: list[str] = []
        for piece in plan.pieces:
            added, found = piece(values)
            members += added
            words += found
        return members, words

    def _plan(self, entry: list[Plan | int | None], transaction_type: str, values: Values) -> Plan:
        """The plan of a shape that has none yet. Raises Unusual when it shall have none."""
        seen = entry[0]
        if type(seen) is int and seen < SIGHTINGS:
            entry[0] = seen + 1
        elif type(seen) is int:
            entry[0] = self._compiled(transaction_type, values)
        if type(entry[0]) is not Plan:
            raise Unusual
        return entry[0]

    def _compiled(self, transaction_type: str, keys: Iterable[str]) -> Plan | None:
        said = self._vocabulary.keys_of(keys)
        if said is None or any(key.startswith(_OWN) for key in keys) or len(self._parts) > MAX_PARTS:
            return None
        things = {name for part in self._parts if part not in self._results for name in _reads(part)} & said.keys()
        attributes = {name for part in self._parts for name in _reads(part)} - self._vocabulary.things
        return Plan(
            tuple((said[thing], self._vocabulary.cleaner(thing)) for thing in sorted(things)),
            {_NOT_SAID: "", _TYPE: transaction_type},
            tuple((_OWN + name, attrgetter(name)) for name in sorted(attributes - {"transaction_type"})),
            tuple(self._pieces(transaction_type, said)),
        )

    def _pieces(self, transaction_type: str, said: Mapping[str, str]) -> Iterator[Piece]:
        things = self._vocabulary.things
        for part in self._parts:
            if isinstance(part, Text):
                if part.thing in said:
                    yield _text(said[part.thing], part.adds)
                continue
            keys = [said.get(name, _NOT_SAID) if name in things else _OWN + name for name in part.reads]
            results = self._results.get(part)
            if results is None:
                yield self._unique(part, getter(keys))
            elif {*keys} <= {_NOT_SAID, _TYPE}:  # the same for all events of this shape
                found = results[tuple(transaction_type if key != _NOT_SAID else "" for key in keys)]
                if found != _NOTHING:
                    yield partial(_constant, found)
            else:
                yield _repeating(results, getter(keys))

    def _unique(self, part: Part, arguments: Callable[[Values], tuple[Any, ...]]) -> Piece:
        make = part.make
        if self._check:
            return lambda values: self._checked(part, make(*arguments(values)))
        return lambda values: _found(make(*arguments(values)))

    def _first_result(self, part: Part, raw: tuple[Any, ...]) -> tuple[Found, int]:
        """What a part that repeats makes of these texts. Card numbers are not kept in memory."""
        arguments = self._cleaned(part, raw)
        members, words = self._checked(part, part.make(*arguments))
        size = sum(len(text or "") for text in raw) + len(members) + sum(map(len, words))
        found = members, tuple(dict.fromkeys(words))
        return found, size if all(is_shown_whole(text) for text in raw if text) else 0

    def _cleaned(self, part: Part, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        cleaned = []
        for name, text in zip(part.reads, arguments, strict=True):
            if name not in self._vocabulary.things:
                cleaned.append(text)
            elif type(text) is str:
                cleaned.append(self._vocabulary.cleaner(name)(text))
            else:
                raise Unusual
        return tuple(cleaned)

    def _checked(self, part: Part, added: Enrichment) -> Found:
        if self._check:
            self._check(added)
        part.check(added)
        return _found(added)


def _found(added: Enrichment) -> Found:
    text = " ".join(added.terms)
    if len(text) > MAX_TERM_CHARACTERS:
        raise Unusual
    fields = added.fields
    return b"," + encode(fields)[1:-1] if fields else b"", words_of(text)


def _unseen(shape: Shape) -> tuple[list[Plan | int | None], int]:
    return [0], sum(map(len, shape)) + len(shape)


def _reads(part: Part | Text) -> tuple[str, ...]:
    return (part.thing,) if isinstance(part, Text) else part.reads


def _repeating(results: Cache[tuple[Any, ...], Found], arguments: Callable[[Values], tuple[Any, ...]]) -> Piece:
    return lambda values: results[arguments(values)]


def _constant(found: Found, _values: Values) -> Found:
    return found


def _text(key: str, field: str) -> Piece:
    member = b",%b:" % encode(field)

    def piece(values: Values) -> Found:
        text = values[key]
        if not text:
            return _NOTHING
        return member + encode(text) if field else b"", words_of(text)

    return piece
