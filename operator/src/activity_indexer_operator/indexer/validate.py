"""Validation: can the newest spec be used? While it cannot, the last good one stays in force."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from activity_indexer_operator.indexer.model import ActivityIndexer, Memory
from activity_indexer_operator.indexer.objects.manifests import LAST_GOOD, Manifest, manifests
from activity_indexer_operator.indexer.spec import Mode, Spec
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import InvalidSpec, controller_of
from activity_indexer_operator.kube.ports import Cluster, RejectedError
from activity_indexer_operator.kube.resources import CONFIG_MAPS

_ACTING = frozenset({Mode.ACTIVE, Mode.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The spec in force (None: there never was a good one), its objects, and what is wrong with the newest."""

    spec: Spec | None
    wanted: tuple[Manifest, ...]
    problem: str = ""


class Validator:
    """Asks the API server about each new spec before anything is changed; `image` runs where the spec names none."""

    def __init__(self, cluster: Cluster, cache: ObjectCache, image: str) -> None:
        self._cluster, self._cache, self._image = cluster, cache, image

    async def validate(self, indexer: ActivityIndexer, memory: Memory) -> Accepted:
        """The spec to work with. Raises ClusterError."""
        if isinstance(indexer.spec, InvalidSpec):
            return await self._fallback(indexer, memory, indexer.spec.message)
        wanted = self._wanted(indexer, indexer.spec)
        known = memory.good is not None and memory.good[0] == indexer.meta.generation
        if not known and wanted and indexer.spec.mode in _ACTING:
            if problem := await self._problem(indexer, wanted):
                return await self._fallback(indexer, memory, problem)
            memory.good = indexer.meta.generation, indexer.spec
        return Accepted(indexer.spec, wanted)

    def _wanted(self, indexer: ActivityIndexer, spec: Spec) -> tuple[Manifest, ...]:
        """The objects that a spec needs: none for a workload that others created."""
        template = spec.workload.template
        return manifests(indexer.meta, spec, template, self._image) if template else ()

    async def _problem(self, indexer: ActivityIndexer, wanted: tuple[Manifest, ...]) -> str:
        """Why the objects cannot be applied; "" when they can. A dry run lets the API server check them."""
        reads = (self._cache.read(self._cluster, each.resource, *each.place) for each in wanted)
        for manifest, live in zip(wanted, await asyncio.gather(*reads), strict=True):
            owner = controller_of(live) if live else None
            if live and (owner is None or owner[2] != indexer.meta.uid):
                name = f"{manifest.resource.kind} {'/'.join(manifest.place)}"
                return f"{name} exists and belongs to another owner; delete it, or rename the ActivityIndexer"
        try:
            await asyncio.gather(*(self._cluster.apply(each.resource, each.body, dry_run=True) for each in wanted))
        except RejectedError as error:
            return f"the API server refuses what spec.workload.template makes: {error}"
        return ""

    async def _fallback(self, indexer: ActivityIndexer, memory: Memory, problem: str) -> Accepted:
        good = memory.good[1] if memory.good else await self._saved(indexer)
        return Accepted(good, self._wanted(indexer, good) if good else (), problem)

    async def _saved(self, indexer: ActivityIndexer) -> Spec | None:
        """The spec in the annotation of the ConfigMap that was made from it: it outlives the operator."""
        key, uid = indexer.meta.key, indexer.meta.uid
        found = await self._cache.read(self._cluster, CONFIG_MAPS, key.namespace, key.name)
        if found is None or not any(r.get("uid") == uid for r in found["metadata"].get("ownerReferences", ())):
            return None
        try:
            text = (found["metadata"].get("annotations") or {}).get(LAST_GOOD, "")
            return msgspec.json.decode(text, type=Spec)
        except msgspec.MsgspecError:
            return None
