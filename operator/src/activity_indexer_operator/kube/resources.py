"""The kinds of objects that are read or written, and their paths in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from activity_indexer_operator.kube.objects import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object; `group` is empty for the core's."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Where its objects are, or one of them; namespace "" stands for all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{scope}", self.plural, name, subresource) if part)


INDEXERS: Final = Resource(GROUP, VERSION, "activityindexers", "ActivityIndexer")
REPLAYS: Final = Resource(GROUP, VERSION, "deadletterreplays", "DeadLetterReplay")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
SERVICES: Final = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
EVENTS: Final = Resource("", "v1", "events", "Event")
PODS: Final = Resource("", "v1", "pods", "Pod")
DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")

WORKLOADS: Final = {resource.kind: resource for resource in (DEPLOYMENTS, STATEFUL_SETS)}
