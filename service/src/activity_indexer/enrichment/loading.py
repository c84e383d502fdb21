"""Finds the strategies: those in `built_in`, and those that other packages declare as entry points."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from activity_indexer.enrichment import built_in
from activity_indexer.enrichment.declared import DeclaredStrategy, problem_of
from activity_indexer.enrichment.strategy import EnrichmentStrategy
from activity_indexer.errors import SettingsError

GROUP: Final = "activity_indexer.enrichment"
SETTING: Final = "CONSUMER_ENRICHMENTS"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A strategy in use, and whether it came with the indexer."""

    name: str
    strategy: EnrichmentStrategy
    built_in: bool


def load_strategies(names: Sequence[str] = ()) -> list[Loaded]:
    """The strategies with these names, in this order; all when there is no name.

    An entry point takes the place of a built-in strategy of its name. Raises SettingsError.
    """
    known = {**_built_in(), **_installed()}
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip())) or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SettingsError(
            f"{SETTING}: expected names out of {', '.join(sorted(known))}, got {', '.join(map(repr, unknown))}:"
            f" correct the name, or install the package whose entry point in the group {GROUP} has it"
        )
    return [known[name]() for name in wanted]


def _built_in() -> dict[str, Callable[[], Loaded]]:
    return {each.name: partial(Loaded, each.name, each, built_in=True) for each in _built_in_strategies()}


def _built_in_strategies() -> Iterator[EnrichmentStrategy]:
    for module_info in pkgutil.iter_modules(built_in.__path__, f"{built_in.__name__}."):
        module = import_module(module_info.name)
        for _, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == module.__name__ and hasattr(found, "transaction_types"):
                yield _fitting(found, module.__name__, getattr(found, "name", ""))


def _installed() -> dict[str, Callable[[], Loaded]]:
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=GROUP):
        other = found.setdefault(entry_point.name, entry_point)
        if other.value != entry_point.value:
            raise SettingsError(
                f"enrichment entry points {_place(other)} and {_place(entry_point)} have one name: uninstall one of the"
                " packages"
            )
    return {name: partial(_load, entry_point) for name, entry_point in found.items()}


def _load(entry_point: EntryPoint) -> Loaded:
    try:
        loaded = entry_point.load()
    except Exception as error:
        raise SettingsError(
            f"enrichment entry point {_place(entry_point)} cannot be loaded ({type(error).__name__}: {error}): correct"
            f" or uninstall its package, or list the strategies to use without it in {SETTING}"
        ) from error
    strategy = _fitting(loaded, f"entry point {_place(entry_point)}", entry_point.name)
    return Loaded(entry_point.name, strategy, built_in=False)


def _place(entry_point: EntryPoint) -> str:
    package = f" of the package {entry_point.dist.name}" if entry_point.dist else ""
    return f"{entry_point.name} = {entry_point.value}{package}"


def _fitting(made_by: Any, place: str, name: str) -> EnrichmentStrategy:
    try:
        strategy = made_by()
    except Exception as error:
        raise SettingsError(
            f"enrichment strategy {place}: expected a class that is made without arguments, got {type(error).__name__}:"
            f" {error}: give it such a constructor, or list the strategies to use without it in {SETTING}"
        ) from error
    problem = _misfit(strategy, name)
    if problem:
        raise SettingsError(
            f"enrichment strategy {place}: {problem}; see docs/enrichment.md for the shape of a strategy"
        )
    return strategy  # type: ignore[no-any-return]


def _misfit(strategy: Any, name: str) -> str | None:
    own_name = getattr(strategy, "name", None)
    types = getattr(strategy, "transaction_types", None)
    properties = getattr(strategy, "properties", None)
    if own_name != name:
        return f"expected the attribute name to be {name!r}, as the entry point's, got {own_name!r}"
    if isinstance(types, str) or not types or not all(isinstance(listed, str) for listed in types):
        return f"expected transaction_types to be a set of strings that is not empty, got {types!r}"
    if not isinstance(properties, Mapping) or not _is_mapping_of_fields(properties):
        return f"expected properties to be an Elasticsearch mapping (field name to definition), got {properties!r}"
    if not callable(getattr(strategy, "enrich", None)):
        return "expected a method enrich(transaction, metadata), got none"
    return problem_of(strategy) if isinstance(strategy, DeclaredStrategy) else None


def _is_mapping_of_fields(properties: Mapping[Any, Any]) -> bool:
    return all(
        isinstance(name, str)
        and isinstance(field, Mapping)
        and (isinstance(field.get("type"), str) or isinstance(field.get("properties"), Mapping))
        and _is_mapping_of_fields(field.get("properties", {}))
        for name, field in properties.items()
    )
