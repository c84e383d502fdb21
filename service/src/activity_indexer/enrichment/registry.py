"""Which strategy is for which transaction: built-in ones and those of other packages, checked at the start."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Raw

from activity_indexer.enrichment.caches import Cache
from activity_indexer.enrichment.common import PROPERTIES, common_fields, common_text
from activity_indexer.enrichment.declared import DeclaredStrategy, fields_of
from activity_indexer.enrichment.loading import Loaded, load_strategies
from activity_indexer.enrichment.mapping import merge_fields, merge_properties
from activity_indexer.enrichment.plan import MAX_PARTS, Compiler
from activity_indexer.enrichment.search_content import UsualContent, search_content
from activity_indexer.enrichment.source import Unusual
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.errors import EnrichmentError
from activity_indexer.event import Event, Transaction
from activity_indexer.ports import Enriched
from activity_indexer.timestamps import shorten

MAX_ERROR_CHARACTERS: Final = 300
MANY: Final = 16
"""After this many events of a type for which there was no plan, only one in this many is tried."""

_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_decode_flat: Final = msgspec.json.Decoder(dict[str, str | int | float | bool | list[Any] | None]).decode
"""Refuses objects in the metadata: what is in them may be said, too."""

_NO_METADATA: Final = Raw()
_decode_value: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_raw_values: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_SEPARATORS: Final = re.compile(r"[\s-]+")


class _Route:
    """The strategies of a transaction type, and their compilers; None when one of them cannot have plans.

    `failures` counts the events of this type since a plan was of use.
    """

    __slots__ = ("compilers", "failures", "strategies")

    def __init__(self, strategies: tuple[Loaded, ...], compilers: tuple[Compiler, ...] | None) -> None:
        self.strategies = strategies
        self.compilers = compilers
        self.failures = 0


class Registry:
    """The strategies in use: an Enricher, and the mapping of all that it adds.

    `properties` is the mapping below `enrichment`. Raises SettingsError when two strategies map a field differently.
    """

    def __init__(self, strategies: Sequence[Loaded]) -> None:
        declared = [("every document", PROPERTIES), *((each.name, each.strategy.properties) for each in strategies)]
        self.properties: Mapping[str, Any] = merge_properties(declared)
        self.names: tuple[str, ...] = tuple(each.name for each in strategies)
        self._by_type: dict[str, tuple[Loaded, ...]] = {}
        for each in strategies:
            for listed in {_type_key(listed) for listed in each.strategy.transaction_types}:
                self._by_type[listed] = (*self._by_type.get(listed, ()), each)
        self._compilers = {
            each.name: Compiler(each.strategy, None if each.built_in else _check)
            for each in strategies
            if isinstance(each.strategy, DeclaredStrategy) and _has_plans(each.strategy)
        }
        self._routes = Cache(self._route, lambda transaction_type, _route: len(transaction_type) + 1)
        self._content = UsualContent().text

    def enriches(self, transaction_type: str) -> bool:
        """Whether a strategy is for this type."""
        return bool(self._strategies(transaction_type))

    def plans(self, transaction_type: str, metadata: Iterable[str]) -> str:
        """The source of the plans for this type and these keys of the metadata, to be read."""
        compilers = self._routes[transaction_type].compilers or ()
        return "\n".join([compiler.source(transaction_type, metadata) or "" for compiler in compilers])

    def __call__(self, event: Event) -> Enriched:
        """What to add to the document of this event. Raises EnrichmentError."""
        transaction = event.transaction
        route = self._routes[transaction.transaction_type]
        if route.failures < MANY or route.failures % MANY == 0:
            try:
                enriched = self._by_plan(transaction, route)
            except Exception:  # noqa: BLE001, S110 - without a plan it works, or says what is wrong
                pass
            else:
                route.failures = 0
                return enriched
        route.failures += 1
        return self.without_plan(event)

    def _by_plan(self, transaction: Transaction, route: _Route) -> Enriched:
        compilers = route.compilers
        if compilers is None:
            raise Unusual
        members = b""
        words: Sequence[str] = ()
        if compilers:
            metadata = transaction.metadata
            values = _decode_flat(metadata) if metadata != _NO_METADATA else {}
            for compiler in compilers:
                added, found = compiler.run(transaction, values)
                members = members + added if members else added
                words = (*words, *found) if words else found
        amount = bytes(transaction.amount)
        day, common = common_text(transaction.created_at, amount)
        content = self._content(transaction, amount.decode(), day, words)
        if not day or content is None:
            raise Unusual
        return Enriched(b"{%b%b}" % (common, members), _encode(content), bool(compilers))

    def without_plan(self, event: Event) -> Enriched:
        """The same, for any event: what a plan adds is held to this. Raises EnrichmentError."""
        transaction = event.transaction
        strategies = self._routes[transaction.transaction_type].strategies
        fields = common_fields(transaction)
        day = fields.get("day", "")
        terms: Sequence[str] = ()
        metadata = decode_metadata(bytes(transaction.metadata)) if strategies else {}
        for each in strategies:
            added = _enrich(each, event, metadata)
            if len(strategies) == 1:
                fields.update(added.fields)
            else:
                merge_fields(fields, added.fields)
            terms = (*terms, *added.terms) if terms else added.terms
        return Enriched(_encode(fields), _encode(search_content(transaction, terms, day)), bool(strategies))

    def _route(self, transaction_type: str) -> _Route:
        strategies = self._strategies(transaction_type)
        return _Route(strategies, self._compilers_of(strategies))

    def _compilers_of(self, strategies: Sequence[Loaded]) -> tuple[Compiler, ...] | None:
        """Of strategies that add different fields: what they add can stand side by side then."""
        compilers = [self._compilers[each.name] for each in strategies if each.name in self._compilers]
        fields = [name for compiler in compilers for name in compiler.fields]
        parts = sum(len(compiler.parts) for compiler in compilers)
        usual = len(compilers) == len(strategies) and len({*fields}) == len(fields) and parts <= MAX_PARTS
        return tuple(compilers) if usual else None

    def _strategies(self, transaction_type: str) -> tuple[Loaded, ...]:
        found = self._by_type.get(transaction_type)
        return self._by_type.get(_type_key(transaction_type), ()) if found is None else found


def load_enrichments(names: Sequence[str] = ()) -> Registry:
    """The registry of the strategies with these names, in this order; all that are installed when there is no name.

    Raises SettingsError that says what to do when a name is unknown, an entry point cannot be loaded, a class is no
    strategy, or two strategies map one field differently.
    """
    return Registry(load_strategies(names))


def decode_metadata(text: bytes) -> dict[str, Any]:
    """The metadata, numbers with a fraction as Decimal; without the values that no decoder takes."""
    if not text:
        return {}
    try:
        return _decode(text)
    except (ValueError, ArithmeticError, RecursionError):
        return _what_decodes(text)


def _what_decodes(text: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    try:
        values = _raw_values(text)
    except (ValueError, RecursionError):
        return decoded
    for key, raw in values.items():
        try:
            decoded[key] = _decode_value(raw)
        except (ValueError, ArithmeticError, RecursionError):
            continue
    return decoded


def _has_plans(strategy: DeclaredStrategy) -> bool:
    """Whether its parts say all that it adds, and none of that is a field of every document."""
    return type(strategy).enrich is DeclaredStrategy.enrich and not fields_of(strategy) & PROPERTIES.keys()


def _type_key(transaction_type: str) -> str:
    return _SEPARATORS.sub("_", transaction_type.strip().casefold()) if len(transaction_type) < 256 else ""


def _enrich(loaded: Loaded, event: Event, metadata: Mapping[str, Any]) -> Enrichment:
    try:
        added = loaded.strategy.enrich(event.transaction, metadata)
        if not loaded.built_in:
            _check(added)
    except Exception as error:
        raise EnrichmentError("enrichment_failed", f"strategy {loaded.name}: {_describe(error)}") from error
    return added


def _check(added: Enrichment) -> None:
    if not isinstance(added, Enrichment):
        raise TypeError(f"expected an Enrichment, got {type(added).__name__}")
    if isinstance(added.terms, str) or not all(isinstance(term, str) for term in added.terms):
        raise TypeError(f"expected terms to be a list of strings, got {added.terms!r}")
    text = _encode(dict(added.fields))
    if b"\n" in text:
        raise ValueError("expected fields on one line of JSON, got a line break in a msgspec.Raw")
    _raw_values(text)  # a Decimal may be no number, a msgspec.Raw no JSON


def _describe(error: Exception) -> str:
    text = "".join(traceback.format_exception_only(error)).strip()
    return shorten(text.encode(errors="replace").decode(), MAX_ERROR_CHARACTERS)
