"""Strategies that declare what they read, what they add and what they make searchable, so that they can be compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, Final

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
    have the same arguments: the results are remembered.
    """

    make: Callable[..., Enrichment]
    adds: tuple[str, ...] = ()
    repeats: bool = False
    reads: tuple[str, ...] = field(init=False)
    arguments: Callable[[Mapping[str, Any]], tuple[Any, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "adds", (self.adds,) if isinstance(self.adds, str) else tuple(self.adds))
        object.__setattr__(self, "reads", tuple(inspect.signature(self.make).parameters))
        object.__setattr__(self, "arguments", getter(self.reads))

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


class DeclaredStrategy:
    """A strategy that is a vocabulary and parts: `enrich` follows from them, and so does the compiled plan.

    The fields and the words stand in the order of the parts.
    """

    name: str
    transaction_types: frozenset[str]
    properties: Mapping[str, Any]
    vocabulary: Vocabulary
    parts: Sequence[Part | Text]

    def enrich(self, transaction: Transaction, metadata: Mapping[str, Any]) -> Enrichment:
        """Read what the metadata says; what cannot be made out is left out."""
        nothing_said, attributes = self._names
        values: dict[str, Any] = nothing_said | self.vocabulary.read(metadata)
        for name in attributes:
            values[name] = getattr(transaction, name)
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
    def _names(self) -> tuple[dict[str, str], frozenset[str]]:
        things = self.vocabulary.things
        reads = {name for part in self.parts if isinstance(part, Part) for name in part.reads}
        return dict.fromkeys(things, ""), frozenset(reads - things)


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
    things = strategy.vocabulary.things
    fields: set[str] = set()
    for part in strategy.parts:
        reads, adds = (part.thing,) if isinstance(part, Text) else part.reads, _added_by(part)
        known = things if isinstance(part, Text) else things | (TEXT_ATTRIBUTES if part.repeats else ATTRIBUTES)
        if unknown := [name for name in reads if name not in known]:
            return f"expected {part} to read names out of {sorted(known)}, got {unknown}"
        if twice := fields & adds:
            return f"expected each field to be added by one part, got {sorted(twice)} in two"
        fields |= adds
    return None
