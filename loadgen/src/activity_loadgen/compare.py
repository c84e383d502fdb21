"""Compares what is in the index and the dead letters with what must be there."""

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from activity_loadgen.bodies import differences
from activity_loadgen.expected import ExpectedState, FinalEvent, Position
from activity_loadgen.search import Hit, SearchIndex
from activity_loadgen.state import state_of

Problem = Literal["missing", "stale", "different", "extra"]
What = Literal["document", "tombstone", "dead letter"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be: `id` is a transaction's, or partition:offset of a dead letter's event."""

    problem: Problem
    what: What
    id: str
    detail: str


class _Tombstone(msgspec.Struct):
    deleted_at: str | None = msgspec.field(name="_deleted_at", default=None)


async def compare_documents(expected: ExpectedState, index: SearchIndex, sent: Mapping[str, bytes]) -> list[Finding]:
    """Findings about documents and tombstones; `sent` has the transactions to compare bodies with, by id.

    Raises:
        SearchError: when Elasticsearch does not answer.
    """
    findings: list[Finding] = []
    seen: set[str] = set()
    async for hits in index.of_runs(expected.runs):
        seen.update(hit.id for hit in hits)
        findings += [found for hit in hits for found in _judge(hit, expected.final.get(hit.id), sent.get(hit.id))]
    concrete = await index.behind_alias()
    findings += await _missing(index, concrete, {k: v for k, v in expected.live().items() if k not in seen})
    findings += await _tombstones(index, concrete, expected.deleted(), seen)
    return findings


def compare_dead_letters(expected: ExpectedState, found: Mapping[Position, str]) -> list[Finding]:
    """Findings about dead letters; `found` is by the position of the event each was made of."""
    missing = [
        Finding("missing", "dead letter", _place(position), f"invalid event ({reason}) has no dead letter")
        for position, reason in expected.invalid.items()
        if position not in found
    ]
    extra = [
        Finding("extra", "dead letter", _place(position), f"a valid event was dead-lettered: {said}")
        for position, said in found.items()
        if expected.is_valid_event(position)
    ]
    return missing + extra


def _judge(hit: Hit, final: FinalEvent | None, sent: bytes | None) -> list[Finding]:
    """What is wrong with a document that a search of the alias shows."""
    if final is None:
        return [Finding("extra", "document", hit.id, f"version {hit.version}: no event in the ledger explains it")]
    if different := _of_another_event("document", hit, final):
        return [different]
    if final.deleted:
        return [Finding("stale", "tombstone", hit.id, "deleted, but a search of the alias shows its document")]
    unlike = [] if sent is None else differences(sent, bytes(hit.source))
    return [Finding("different", "document", hit.id, "; ".join(unlike))] if unlike else []


async def _missing(index: SearchIndex, concrete: str, lacking: Mapping[str, FinalEvent]) -> list[Finding]:
    """What became of live transactions that the search of the runs did not show."""
    stored = await index.stored(concrete, lacking)
    visible = await index.visible(stored)
    return [
        Finding("missing", "document", key, _whereabouts(final, stored.get(key), visible, concrete))
        for key, final in lacking.items()
    ]


def _whereabouts(final: FinalEvent, hit: Hit | None, visible: Collection[str], concrete: str) -> str:
    if hit is None:
        return f"version {final.version} expected, nothing in {concrete}"
    if hit.id in visible:
        return f"there at version {hit.version}, but without its metadata.load_run"
    return f"in {hit.index} at version {hit.version} ({final.version} expected), but the alias hides it"


async def _tombstones(
    index: SearchIndex, concrete: str, deleted: Mapping[str, FinalEvent], reported: Collection[str]
) -> list[Finding]:
    stored, visible = await index.stored(concrete, deleted), await index.visible(deleted)
    return [
        finding
        for key, final in deleted.items()
        if key not in reported
        for finding in _judge_tombstone(key, final, stored.get(key), visible)
    ]


def _judge_tombstone(key: str, final: FinalEvent, hit: Hit | None, visible: Collection[str]) -> list[Finding]:
    if hit is None:
        return [Finding("missing", "tombstone", key, f"version {final.version} expected, nothing is stored")]
    if different := _of_another_event("tombstone", hit, final):
        return [different]
    if not msgspec.json.decode(hit.source, type=_Tombstone).deleted_at:
        return [Finding("different", "tombstone", key, "the document at the deletion's version has no _deleted_at")]
    if key in visible:
        return [Finding("stale", "tombstone", key, "a search of the alias shows the tombstone")]
    return []


def _of_another_event(what: What, hit: Hit, final: FinalEvent) -> Finding | None:
    """That a document or tombstone stands for an earlier event than the final one, or for one that is not known."""
    state = state_of(hit.version, bytes(hit.source))
    if state.version > final.version:
        detail = f"version {hit.version}, but the latest event acknowledged has {final.version}"
        return Finding("extra", what, hit.id, detail)
    if not state.is_before(final.version, final.order):
        return None
    if state.version < final.version:
        return Finding("stale", what, hit.id, f"version {hit.version}, expected {final.version} ({final.kind})")
    detail = f"stands for the event at {state.order}, a later one with the same version is at {final.order}"
    return Finding("stale", what, hit.id, detail)


def _place(position: Position) -> str:
    return f"{position[0]}:{position[1]}"
