"""Events, as `kubectl describe` shows them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import structlog

from activity_indexer_operator.kube.objects import API_VERSION, MANAGER, Meta
from activity_indexer_operator.kube.ports import Cluster, ClusterError
from activity_indexer_operator.kube.resources import EVENTS
from activity_indexer_operator.kube.time import format_time, utc_now

log = structlog.get_logger(__name__)

MESSAGE_MAX: Final = 1000
"""Characters that the API server takes."""


class EventRecorder:
    """Writes each Event once; callers record transitions only."""

    def __init__(self, cluster: Cluster, now: Callable[[], datetime] = utc_now) -> None:
        self._cluster = cluster
        self._now = now

    async def event(self, meta: Meta, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """See ports.Recorder."""
        try:
            await self._cluster.create(EVENTS, self._body(meta, kind, reason, message))
        except ClusterError as error:
            # A namespace that is being deleted takes no Events, and nothing depends on them.
            log.info("event.refused", key=str(meta.key), reason=reason, error=str(error))

    def _body(self, meta: Meta, kind: str, reason: str, message: str) -> dict[str, object]:
        key, now = meta.key, format_time(self._now())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{key.name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION, "kind": key.kind, "namespace": key.namespace, "name": key.name,
                "uid": meta.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 1] + "…",
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }  # fmt: skip
