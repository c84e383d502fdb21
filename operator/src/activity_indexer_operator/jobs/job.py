"""The Jobs that the operator makes: values in, values out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from activity_common.exit_codes import FINAL
from activity_common.trace_context import VARIABLE, TraceContext
from activity_indexer_operator.jobs.pod import job_pod, set_variable
from activity_indexer_operator.jobs.settings import LABEL_INDEXER, Correction, JobSettings
from activity_indexer_operator.kube.objects import MANAGER, Meta, owner_reference

ANNOTATION_COMMAND: Final = "activityindexer.io/command"
"""On Jobs: a hash of what they run, by which a changed wish is seen."""
ANNOTATION_CORRECTION: Final = "activityindexer.io/correction"
CORRECTION_FILE: Final = "/etc/activity-indexer/correction/patch.json"
COMPONENT: Final = "app.kubernetes.io/component"
COMPONENT_REPLAY: Final = "dead-letter-replay"
COMPONENT_PURGE: Final = "tombstone-purge"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A Job that is to be: its name says what it is for, so that there can be one only.

    `seconds_kept` is the time after which Kubernetes removes it when it is done; None: when its owner goes. `trace` is
    the span that its command is part of; another one makes no other Job.
    """

    name: str
    owner: Meta
    indexer: str
    component: str
    arguments: tuple[str, ...]
    settings: JobSettings = field(default_factory=JobSettings)
    correction: Correction | None = None
    seconds_kept: int | None = None
    trace: TraceContext | None = None

    @property
    def command_hash(self) -> str:
        """The same for the same command and correction."""
        patch = None if self.correction is None else (self.correction.inline, str(self.correction.config_map_ref))
        return hashlib.blake2b(json.dumps([self.arguments, patch]).encode(), digest_size=8).hexdigest()

    @property
    def labels(self) -> dict[str, str]:
        """What the Job and its pods are found by."""
        return {
            "app.kubernetes.io/name": "activity-indexer",
            COMPONENT: self.component,
            "app.kubernetes.io/part-of": "activity-indexer",
            "app.kubernetes.io/managed-by": MANAGER,
            LABEL_INDEXER: self.indexer,
        }


def job_body(wanted: JobRequest, template: Mapping[str, Any]) -> dict[str, Any]:
    """The Job, with the indexer's pod `template` (its `metadata` and `spec`)."""
    pod = job_pod(template, wanted.arguments, wanted.settings.resources)
    if wanted.trace:
        set_variable(pod["containers"][0], VARIABLE, str(wanted.trace))
    annotations = dict(wanted.settings.annotations)
    if wanted.correction:
        annotations |= _mount_correction(pod, wanted.correction)
    spec: dict[str, Any] = {
        "backoffLimit": wanted.settings.backoff_limit,
        "podFailurePolicy": _failure_policy(pod["containers"][0]["name"]),
        # A second pod only when the first is gone: two of one replay would shut each other out.
        "podReplacementPolicy": "Failed",
        "template": {"metadata": {"labels": wanted.settings.labels | wanted.labels}, "spec": pod},
    }
    if annotations:
        spec["template"]["metadata"]["annotations"] = annotations
    if wanted.settings.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = wanted.settings.active_deadline_seconds
    if wanted.seconds_kept is not None:
        spec["ttlSecondsAfterFinished"] = wanted.seconds_kept
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(wanted), "spec": spec}


def _metadata(wanted: JobRequest) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "namespace": wanted.owner.key.namespace,
        "labels": wanted.labels,
        "annotations": {ANNOTATION_COMMAND: wanted.command_hash},
        "ownerReferences": [owner_reference(wanted.owner)],
    }


def _failure_policy(container: str) -> dict[str, Any]:
    return {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": container, "operator": "In", "values": [int(code) for code in FINAL]},
            },
            # A drained node is no failure of the replay.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]
    }


def _mount_correction(pod: dict[str, Any], correction: Correction) -> dict[str, str]:
    """Puts the patch where the command looks for it; returns the annotations that this takes."""
    folder, _, file = CORRECTION_FILE.rpartition("/")
    annotations: dict[str, str] = {}
    if correction.config_map_ref:
        items = [{"key": correction.config_map_ref.key, "path": file}]
        source: dict[str, Any] = {"configMap": {"name": correction.config_map_ref.name, "items": items}}
    else:
        # The pod carries it itself: no ConfigMap to make, to own and to be allowed to write.
        annotations[ANNOTATION_CORRECTION] = correction.inline or ""
        held = {"fieldPath": f"metadata.annotations['{ANNOTATION_CORRECTION}']"}
        source = {"downwardAPI": {"items": [{"path": file, "fieldRef": held}]}}
    pod.setdefault("volumes", []).append({"name": "correction", **source})
    mount = {"name": "correction", "mountPath": folder, "readOnly": True}
    pod["containers"][0].setdefault("volumeMounts", []).append(mount)
    return annotations
