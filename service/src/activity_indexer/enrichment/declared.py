"""Strategies that declare what they read, what they add and what they make searchable, so that they can be compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary
from activity_indexer.event import Transaction

TEXT_ATTRIBUTES: Final = frozenset({"id", "user_id", "transaction_type", "product", "status", "currency", "created_at"})
"""Attributes of the transaction that any part may read."""

ATTRIBUTES: Final = TEXT_ATTRIBUTES | {"amount"}
"""Attributes that a part may read that does not repeat."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an enrichment, made by a function whose result depends on its arguments alone.

    Each parameter of `make` is a thing of the vocabulary, or else an attribute of the transaction. A thing that the
    metadata does not say is an empty text. `adds` are the fields that the part may add. `repeats` says that many events
    have the same arguments: the results are remembered. `copies` are parameters whose texts are only copied into fields
    and terms, each whole and unchanged. They may be different in each event; the others repeat then.
    """

    make: Callable[..., Enrichment]
    adds: tuple[str, ...] = ()
    repeats: bool = False
    copies: tuple[str, ...] = ()
    reads: tuple[str, ...] = field(init=False)
    arguments: Callable[[Mapping[str, Any]], tuple[Any, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "adds", (self.adds,) if isinstance(self.adds, str) else tuple(self.adds))
        object.__setattr__(self, "copies", (self.copies,) if isinstance(self.copies, str) else tuple(self.copies))
        object.__setattr__(self, "reads", tuple(inspect.signature(self.make).parameters))
        object.__setattr__(self, "arguments", getter(self.reads))

    @property
    def is_cached(self) -> bool:
        """Whether its results are remembered."""
        return self.repeats or bool(self.copies)

    def check(self, added: Enrichment) -> None:
        """Refuse fields that were not declared: two parts may not add one field."""
        for name in added.fields:
            if name not in self.adds:
                raise TypeError(f"expected fields out of {sorted(self.adds)}, got {name!r}")


@dataclass(frozen=True, slots=True)
class Text:
    """A thing that is made searchable as the metadata says it, and added as the field `adds` if that has a name."""

    thing: str
    adds: str = ""

    def make(self, text: str) -> Enrichment:
        """What is added when the thing is said."""
        return Enrichment({self.adds: text} if self.adds else {}, (text,))


class _Derived(NamedTuple):
    make: Callable[..., str]
    reads: tuple[str, ...]
    arguments: Callable[[Mapping[str, Any]], tuple[Any, ...]]


class DeclaredStrategy:
    """A strategy that is a vocabulary and parts: `enrich` follows from them, and so does the compiled plan.

    `derived` are texts that functions make of things, of attributes of the transaction and of texts derived before: a
    part may read them like things. The fields and the words stand in the order of the parts.
    """

    name: str
    transaction_types: frozenset[str]
    properties: Mapping[str, Any]
    vocabulary: Vocabulary
    derived: Mapping[str, Callable[..., str]] = MappingProxyType({})
    parts: Sequence[Part | Text]

    def enrich(self, transaction: Transaction, metadata: Mapping[str, Any]) -> Enrichment:
        """Read what the metadata says; what cannot be made out is left out."""
        nothing_said, attributes = self._names
        values: dict[str, Any] = nothing_said | self.vocabulary.read(metadata)
        for name in attributes:
            values[name] = getattr(transaction, name)
        for name, derived in self.derived_parts.items():
            values[name] = derived.make(*derived.arguments(values))
        fields: dict[str, Any] = {}
        terms: list[str] = []
        for part in self.parts:
            if isinstance(part, Part):
                added = part.make(*part.arguments(values))
                part.check(added)
            elif text := values[part.thing]:
                added = part.make(text)
            else:
                continue
            fields |= added.fields
            terms += added.terms
        return Enrichment(fields, terms)

    @cached_property
    def derived_parts(self) -> dict[str, _Derived]:
        """The functions of derived texts, in order."""
        made: dict[str, _Derived] = {}
        for name, make in self.derived.items():
            reads = tuple(inspect.signature(make).parameters)
            made[name] = _Derived(make, reads, getter(reads))
        return made

    @cached_property
    def _names(self) -> tuple[dict[str, str], frozenset[str]]:
        things, derived = self.vocabulary.things, self.derived_parts
        read = {name for part in self.parts if isinstance(part, Part) for name in part.reads}
        read.update(*(each.reads for each in derived.values()))
        return dict.fromkeys(things, ""), frozenset(read - things - derived.keys())


def getter(keys: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Takes the values of these keys out of a mapping: a tuple, however many there are."""
    if len(keys) < 2:
        return lambda values: tuple(values[key] for key in keys)
    return itemgetter(*keys)


def fields_of(strategy: DeclaredStrategy) -> set[str]:
    """The fields that its parts add."""
    return {name for part in strategy.parts for name in _added_by(part)}


def _added_by(part: Part | Text) -> set[str]:
    return {part.adds} - {""} if isinstance(part, Text) else set(part.adds)


def problem_of(strategy: DeclaredStrategy) -> str | None:
    """What is wrong with a declaration, if anything is."""
    if missing := [name for name in ("vocabulary", "parts") if not hasattr(strategy, name)]:
        return f"expected the attributes vocabulary and parts, got none with the name {' or '.join(missing)}"
    return next(chain(_problems_of_derived(strategy), _problems_of_parts(strategy)), None)


def _problems_of_derived(strategy: DeclaredStrategy) -> Iterator[str]:
    known = strategy.vocabulary.things | ATTRIBUTES
    for name, derived in strategy.derived_parts.items():
        if name in known:
            yield f"expected derived texts to have names of their own, got {name}"
        if unknown := [each for each in derived.reads if each not in known]:
            yield f"expected {name} to read names out of {sorted(known)}, got {unknown}"
        known |= {name}


def _problems_of_parts(strategy: DeclaredStrategy) -> Iterator[str]:
    things = strategy.vocabulary.things
    fields: set[str] = set()
    for part in strategy.parts:
        known, reads = things, (part.thing,) if isinstance(part, Text) else part.reads
        if isinstance(part, Part):
            known = things | strategy.derived_parts.keys()
            if unread := [name for name in part.copies if name not in known & {*reads}]:
                yield f"expected {part} to copy parameters that are things or derived, got {unread}"
            known |= TEXT_ATTRIBUTES if part.is_cached else ATTRIBUTES
        if unknown := [name for name in reads if name not in known]:
            yield f"expected {part} to read names out of {sorted(known)}, got {unknown}"
        if twice := fields & _added_by(part):
            yield f"expected each field to be added by one part, got {sorted(twice)} in two"
        fields |= _added_by(part)
