"""Brings together what several strategies map and add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from activity_indexer.errors import SettingsError


def merge_properties(declared: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """One mapping of all fields; `declared` has who maps (for the message) with what.

    Raises SettingsError when a field is mapped in two ways.
    """
    merged: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for owner, properties in declared:
        _add(merged, properties, "enrichment", owner, owners)
    return merged


def _add(merged: dict[str, Any], properties: Mapping[str, Any], path: str, owner: str, owners: dict[str, str]) -> None:
    for name, new in properties.items():
        field = f"{path}.{name}"
        old = merged.get(name)
        if old is None:
            merged[name] = _copy(new)
            _own(new, field, owner, owners)
        elif _inner(old) is not None and _inner(new) is not None and _outer(old) == _outer(new):
            _add(old["properties"], new["properties"], field, owner, owners)
        elif old != new:
            raise SettingsError(
                f"enrichment strategies {owners[field]} and {owner} both map {field}, as {old} and as {new}: give the"
                f" field one mapping or two names, or leave one strategy out of CONSUMER_ENRICHMENTS"
            )


def _own(mapping: Any, field: str, owner: str, owners: dict[str, str]) -> None:
    owners[field] = owner
    for name, inner in (_inner(mapping) or {}).items():
        _own(inner, f"{field}.{name}", owner, owners)


def _inner(mapping: Any) -> Mapping[str, Any] | None:
    inner = mapping.get("properties")
    return inner if isinstance(inner, Mapping) else None


def _outer(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object"} | {key: value for key, value in mapping.items() if key != "properties"}


def _copy(value: Any) -> Any:
    return {key: _copy(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value


def merge_fields(fields: MutableMapping[str, Any], added: Mapping[str, Any]) -> None:
    """Put `added` into `fields`, objects into objects; of two values the later stays."""
    for name, new in added.items():
        old = fields.get(name)
        if isinstance(old, dict) and isinstance(new, Mapping):
            fields[name] = inner = dict(old)
            merge_fields(inner, new)
        else:
            fields[name] = new
