"""The Jobs that the operator creates: values in, values out.

A Job's pod is the indexer's own with another command: the same image, environment, volumes and rights.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from activity_common.exit_codes import FINAL
from activity_common.trace_context import VARIABLE, TraceContext
from activity_indexer_operator.jobs.settings import LABEL_INDEXER, Correction, JobSettings
from activity_indexer_operator.kube.objects import MANAGER, Meta, owner_reference

ANNOTATION_COMMAND: Final = "activityindexer.io/command"
"""On Jobs: a hash of what they run, which shows that the spec has changed."""
ANNOTATION_CORRECTION: Final = "activityindexer.io/correction"
CORRECTION_FILE: Final = "/etc/activity-indexer/correction/patch.json"
COMPONENT: Final = "app.kubernetes.io/component"
COMPONENT_REPLAY: Final = "dead-letter-replay"
COMPONENT_PURGE: Final = "tombstone-purge"
PROGRAM: Final = "activity-indexer"
RESULT_FILE: Final = "/dev/termination-log"
"""Where Kubernetes takes a container's termination message from."""
INDEXER_CONTAINER: Final = "indexer"
_SERVING: Final = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
_PLACING: Final = ("topologySpreadConstraints", "hostname", "subdomain", "nodeName", "hostAliases")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A Job to create. Its name says what it is for, so that there can be only one.

    `seconds_kept`: how long Kubernetes keeps it after its end; None: until its owner is deleted. `trace`: the span that
    its command is part of, which the hash does not cover.
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
        """The labels of the Job and of its pods."""
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
    metadata = {
        "labels": wanted.settings.labels | wanted.labels,
        **({"annotations": annotations} if annotations else {}),
    }
    limits = {
        "activeDeadlineSeconds": wanted.settings.active_deadline_seconds,
        "ttlSecondsAfterFinished": wanted.seconds_kept,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.owner.key.namespace,
            "labels": wanted.labels,
            "annotations": {ANNOTATION_COMMAND: wanted.command_hash},
            "ownerReferences": [owner_reference(wanted.owner)],
        },
        "spec": {
            "backoffLimit": wanted.settings.backoff_limit,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": pod["containers"][0]["name"],
                            "operator": "In",
                            "values": [int(code) for code in FINAL],
                        },
                    },
                    # A drained node is no failure of the replay.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            # A second pod only after the first has ended: two of one replay would shut each other out.
            "podReplacementPolicy": "Failed",
            "template": {"metadata": metadata, "spec": pod},
            **{name: seconds for name, seconds in limits.items() if seconds is not None},
        },
    }


def _mount_correction(pod: dict[str, Any], correction: Correction) -> dict[str, str]:
    """Mounts the patch where the command reads it; returns the annotations that this needs."""
    folder, _, file = CORRECTION_FILE.rpartition("/")
    annotations: dict[str, str] = {}
    if correction.config_map_ref:
        items = [{"key": correction.config_map_ref.key, "path": file}]
        source: dict[str, Any] = {"configMap": {"name": correction.config_map_ref.name, "items": items}}
    else:
        # The pod carries it itself: no ConfigMap has to be created, owned, and allowed.
        annotations[ANNOTATION_CORRECTION] = correction.inline or ""
        held = {"fieldPath": f"metadata.annotations['{ANNOTATION_CORRECTION}']"}
        source = {"downwardAPI": {"items": [{"path": file, "fieldRef": held}]}}
    pod.setdefault("volumes", []).append({"name": "correction", **source})
    mount = {"name": "correction", "mountPath": folder, "readOnly": True}
    pod["containers"][0].setdefault("volumeMounts", []).append(mount)
    return annotations


def job_pod(
    template: Mapping[str, Any], arguments: Sequence[str], resources: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The pod spec of a Job from the pod template of the indexer's workload.

    Other containers are left out: one that never ends would keep the Job from ending. Labels and annotations are not
    taken over, so that no Service, disruption budget or selector of the indexer counts this pod as one of its own.
    """
    spec = copy.deepcopy({name: value for name, value in template["spec"].items() if name not in _PLACING})
    container = _job_container(indexer_container(spec), arguments)
    if resources is not None:
        container["resources"] = dict(resources)
    affinity = spec.pop("affinity", {}).get("nodeAffinity")
    return spec | {
        **({"affinity": {"nodeAffinity": affinity}} if affinity else {}),
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": spec.get("automountServiceAccountToken", False),
        "enableServiceLinks": spec.get("enableServiceLinks", False),
        # What Pod Security `restricted` asks for, unless the indexer's own pod says otherwise.
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            **spec.get("securityContext", {}),
        },
    }


def _job_container(container: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    # Kubernetes replaces $(NAME) in arguments; a doubled dollar stands for itself.
    command, given = _command(container, [word.replace("$(", "$$(") for word in arguments])
    kept = {name: value for name, value in container.items() if name not in (*_SERVING, "command", "args")}
    return kept | {
        **({"command": command} if command else {}),
        "args": given,
        "terminationMessagePath": RESULT_FILE,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            **container.get("securityContext", {}),
        },
    }


def indexer_container(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The container that runs the indexer: the one of that name, or else the first."""
    containers: list[dict[str, Any]] = spec["containers"]
    return next((each for each in containers if each["name"] == INDEXER_CONTAINER), containers[0])


def set_variable(container: dict[str, Any], name: str, value: str) -> None:
    """Sets a variable of a container, in place of any value that it has."""
    others = [each for each in container.get("env") or () if each["name"] != name]
    container["env"] = [*others, {"name": name, "value": value}]


def _command(container: Mapping[str, Any], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Entry point and arguments: what comes before the program's name (an init, a wrapper) is kept."""
    command: list[str] = list(container.get("command") or ())
    given: list[str] = list(container.get("args") or ())
    if PROGRAM in given:
        return command, [*given[: given.index(PROGRAM)], PROGRAM, *arguments]
    if PROGRAM in command:
        return command[: command.index(PROGRAM) + 1], list(arguments)
    if command:
        return [PROGRAM], list(arguments)
    return [], [PROGRAM, *arguments]
