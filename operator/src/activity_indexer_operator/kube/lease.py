"""Leader election: of several operators the holder of a Lease does the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from activity_indexer_operator.kube.objects import Body
from activity_indexer_operator.kube.ports import Cluster, ClusterError, ConflictError
from activity_indexer_operator.kube.resources import LEASES

log = structlog.get_logger(__name__)

MICRO: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class LeaderElector:
    """Leads for `duration` seconds after each renewal of the Lease.

    Clocks of other machines are not trusted: a holder that renews nothing for that long, by our own clock, counts as
    gone. The Lease goes with its holder: it is deleted at shutdown, and belongs to the pod `identity` where `pod_uid`
    is given, so that it also goes with a pod that is killed.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, identity: str, duration: float, pod_uid: str = ""
    ) -> None:
        self._cluster = cluster
        self._namespace, self._name = namespace, name
        self._identity = identity
        self._duration = duration
        self._owners = [{"apiVersion": "v1", "kind": "Pod", "name": identity, "uid": pod_uid}] if pod_uid else []
        self._observed: tuple[Any, float] = (None, 0.0)
        self.leading = False

    async def run(self, work: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic) -> None:
        """Does the work while leading, again after each loss, until cancelled; then releases the Lease."""
        try:
            while True:
                if await self._acquire(clock):
                    await self._lead(work, clock)
                await asyncio.sleep(self._duration / 3)
        finally:
            await self._release()

    async def _lead(self, work: Callable[[], Awaitable[None]], clock: Callable[[], float]) -> None:
        log.info("lease.acquired", lease=f"{self._namespace}/{self._name}", holder=self._identity)
        self.leading = True
        task = asyncio.ensure_future(work())
        renewed = clock()
        try:
            # Stops a while before others may begin.
            while clock() - renewed < self._duration * 2 / 3 and not task.done():
                await asyncio.wait([task], timeout=self._duration / 4)
                if await self._acquire(clock):
                    renewed = clock()
        finally:
            self.leading = False
            await _ended(task)
        log.warning("lease.lost", lease=f"{self._namespace}/{self._name}", holder=self._identity)

    async def _acquire(self, clock: Callable[[], float]) -> bool:
        """Acquires or renews the Lease; False while another holds it, or when the API server does not answer."""
        try:
            async with asyncio.timeout(self._duration / 4):
                lease = await self._cluster.get(LEASES, self._namespace, self._name)
                if lease is None:
                    await self._cluster.create(LEASES, self._body(None))
                    return True
                if not self._free(lease, clock()):
                    return False
                await self._cluster.replace(LEASES, self._body(lease))
                return True
        except ConflictError:
            return False
        except (ClusterError, TimeoutError) as error:
            log.warning("lease.unanswered", error=str(error) or "no answer")
            return False

    def _free(self, lease: Body, now: float) -> bool:
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity")
        mark = (holder, spec.get("renewTime"), lease["metadata"].get("resourceVersion"))
        if self._observed[0] != mark:
            self._observed = (mark, now)
        return holder in {None, "", self._identity} or now - self._observed[1] >= self._duration

    def _body(self, lease: Body | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime(MICRO)
        before = (lease or {}).get("spec", {})
        mine = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(self._duration),
            "renewTime": now,
            "acquireTime": before["acquireTime"] if mine and "acquireTime" in before else now,
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + (0 if mine or lease is None else 1),
        }
        meta = lease["metadata"] if lease else {"name": self._name, "namespace": self._namespace}
        owned = {**meta, "ownerReferences": self._owners}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": owned, "spec": spec}

    async def _release(self) -> None:
        """Lets the next leader start at once; an API server that does not answer does not hold up the shutdown."""
        try:
            async with asyncio.timeout(2):
                lease = await self._cluster.get(LEASES, self._namespace, self._name)
                if lease and lease.get("spec", {}).get("holderIdentity") == self._identity:
                    await self._cluster.delete(LEASES, self._namespace, self._name, lease["metadata"]["uid"])
        except (ClusterError, TimeoutError):
            return


async def _ended(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()):
        log.error("work.crashed", exc_info=error)
