"""The API server's own record of what service accounts asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from e2e.rights import Right

FOLDER = "/etc/kubernetes/audit"
LOG = f"{FOLDER}/requests.log"
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
_ARGUMENTS = {"audit-policy-file": f"{FOLDER}/policy.yaml", "audit-log-path": LOG}
_VOLUME = {"name": "audit", "hostPath": FOLDER, "mountPath": FOLDER, "pathType": "Directory"}
_PATCH = {
    "apiVersion": "kubeadm.k8s.io/v1beta3",
    "kind": "ClusterConfiguration",
    "apiServer": {"extraArgs": _ARGUMENTS, "extraVolumes": [_VOLUME]},
}
_FORBIDDEN = 403


def add_audit_log(control_plane: dict[str, Any], folder: Path) -> None:
    """Lets the API server of a node, as a kind configuration has it, write its audit log into `folder`/audit."""
    place = folder / "audit"
    place.mkdir(parents=True, exist_ok=True)
    (place / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    control_plane.setdefault("extraMounts", []).append({"hostPath": str(place.resolve()), "containerPath": FOLDER})
    control_plane.setdefault("kubeadmConfigPatches", []).append(yaml.safe_dump(_PATCH))


def asked(log: Iterable[str], user: str) -> set[Right]:
    """What a user was let do, by lines of the audit log; a request about no resource, such as /version, is no right."""
    entries = (json.loads(line) for line in log if user in line)
    return {
        (entry["verb"], _resource(entry["objectRef"]))
        for entry in entries
        if entry["user"]["username"] == user
        and "objectRef" in entry
        and entry.get("responseStatus", {}).get("code") != _FORBIDDEN
    }


def forbidden(log: Iterable[str], user: str) -> list[str]:
    """What a user was refused: verb and path of each request."""
    entries = (json.loads(line) for line in log if user in line)
    return [
        f"{entry['verb']} {entry['requestURI']}"
        for entry in entries
        if entry["user"]["username"] == user and entry.get("responseStatus", {}).get("code") == _FORBIDDEN
    ]


def _resource(reference: dict[str, str]) -> str:
    parts = (reference.get("apiGroup"), reference.get("resource"), reference.get("subresource"))
    return "/".join(part for part in parts if part)
