"""Validation: may the newest spec be worked with? While it may not, the last good one stays in force."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from activity_indexer_operator.indexer.apply import Applier
from activity_indexer_operator.indexer.manifests import LAST_GOOD, Manifest, manifests
from activity_indexer_operator.indexer.memory import Memory
from activity_indexer_operator.indexer.model import ActivityIndexer
from activity_indexer_operator.indexer.spec import Mode, Spec
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import InvalidSpec
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
    """Asks the API server about each new spec before anything is changed."""

    def __init__(self, cluster: Cluster, cache: ObjectCache, applier: Applier, image: str) -> None:
        self._cluster, self._cache, self._applier, self._image = cluster, cache, applier, image

    async def accept(self, indexer: ActivityIndexer, memory: Memory) -> Accepted:
        """The spec to work with. Raises ClusterError."""
        if isinstance(indexer.spec, InvalidSpec):
            return await self._fallback(indexer, memory, indexer.spec.message)
        wanted = self.wanted(indexer, indexer.spec)
        known = memory.good is not None and memory.good[0] == indexer.meta.generation
        if not known and wanted and indexer.spec.mode in _ACTING:
            if problem := await self._problem(indexer, wanted):
                return await self._fallback(indexer, memory, problem)
            memory.good = indexer.meta.generation, indexer.spec
        return Accepted(indexer.spec, wanted)

    def wanted(self, indexer: ActivityIndexer, spec: Spec) -> tuple[Manifest, ...]:
        """The objects that a spec asks for: none for a workload that others made."""
        template = spec.workload.template
        return manifests(indexer.meta, spec, template, self._image) if template else ()

    async def _problem(self, indexer: ActivityIndexer, wanted: tuple[Manifest, ...]) -> str:
        if taken := await self._applier.taken(indexer.meta, wanted):
            return taken
        try:
            await self._applier.rehearse(wanted)
        except RejectedError as error:
            return f"the API server refuses what spec.workload.template makes: {error}"
        return ""

    async def _fallback(self, indexer: ActivityIndexer, memory: Memory, problem: str) -> Accepted:
        good = memory.good[1] if memory.good else await self._saved(indexer)
        return Accepted(good, self.wanted(indexer, good) if good else (), problem)

    async def _saved(self, indexer: ActivityIndexer) -> Spec | None:
        """What the ConfigMap says that it was made from: it outlives the operator."""
        key, uid = indexer.meta.key, indexer.meta.uid
        found = self._cache.get(CONFIG_MAPS, key.namespace, key.name) or await self._cluster.get(
            CONFIG_MAPS, key.namespace, key.name
        )
        if found is None or not any(r.get("uid") == uid for r in found["metadata"].get("ownerReferences", ())):
            return None
        try:
            text = (found["metadata"].get("annotations") or {}).get(LAST_GOOD, "")
            return msgspec.json.decode(text, type=Spec)
        except msgspec.MsgspecError:
            return None
