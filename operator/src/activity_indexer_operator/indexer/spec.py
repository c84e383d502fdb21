"""Typed view of an ActivityIndexer's spec, as k8s/crd/activityindexers.yaml describes it.

The schema's defaults stand here once more: objects may be older than a field. Requests and schedules of
replays, and the purging of tombstones, have views of their own (replay_api.py, schedule.py, purge.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from activity_indexer_operator.kafka.spec import Kafka
from activity_indexer_operator.kube.objects import (
    Body,
    FileRef,
    InvalidSpec,
    KeyRef,
    NameRef,
    Natural,
    Positive,
    Text,
    View,
)


class Mode(StrEnum):
    """What the operator does for the object."""

    ACTIVE = "Active"
    DRY_RUN = "DryRun"
    PAUSED = "Paused"
    SUSPENDED = "Suspended"


class Policy(StrEnum):
    """Where the number of replicas comes from."""

    PARTITION_COUNT = "PartitionCount"
    LAG = "Lag"
    MANUAL = "Manual"


class Source(View, frozen=True):
    """Where events come from."""

    kafka: Kafka


class TargetRef(View, frozen=True):
    """A workload that others created, in the object's own namespace."""

    name: Text
    kind: Literal["Deployment", "StatefulSet"] = "Deployment"


class Elasticsearch(View, frozen=True):
    """Where documents go. The Secret has `username` and `password`, or `api-key`."""

    url: Text | None = None
    url_secret_ref: KeyRef | None = None
    index: Text = "transactions"
    create_index: bool = True
    credentials_secret_ref: NameRef | None = None
    ca_secret_ref: FileRef | None = None


class Redis(View, frozen=True):
    """Where seen message ids are kept."""

    url: Text | None = None
    url_secret_ref: KeyRef | None = None
    ca_secret_ref: FileRef | None = None


class Database(View, frozen=True):
    """Where the audit is written."""

    url: Text | None = None
    url_secret_ref: KeyRef | None = None
    ca_secret_ref: FileRef | None = None


class Audit(View, frozen=True):
    """Whether there is an audit."""

    enabled: bool = True
    database: Database = Database()


class Batch(View, frozen=True):
    """When a batch is sent."""

    size: Positive = 500
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    bytes: Positive | None = None


class Account(View, frozen=True):
    """The pods' service account: an existing one by name, or one that is made."""

    name: Text | None = None
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Template(View, frozen=True):
    """The indexer that the operator runs. Parts that are named as in a pod are passed on unchanged."""

    image: Text | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[NameRef, ...] = ()
    elasticsearch: Elasticsearch = Elasticsearch()
    redis: Redis = Redis()
    audit: Audit = Audit()
    batch: Batch = Batch()
    dedup: bool = True
    enrichments: tuple[Text, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_timeout_seconds: Positive = 20
    max_unavailable: Positive = 1
    resources: dict[str, Any] = msgspec.field(default_factory=dict)
    extra_env: tuple[dict[str, Any], ...] = ()
    extra_env_from: tuple[dict[str, Any], ...] = ()
    extra_volumes: tuple[dict[str, Any], ...] = ()
    extra_volume_mounts: tuple[dict[str, Any], ...] = ()
    pod_labels: dict[str, str] = msgspec.field(default_factory=dict)
    pod_annotations: dict[str, str] = msgspec.field(default_factory=dict)
    service_account: Account = Account()
    node_selector: dict[str, str] = msgspec.field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = msgspec.field(default_factory=dict)
    topology_spread_constraints: tuple[dict[str, Any], ...] | None = None
    priority_class_name: str = ""


class Workload(View, frozen=True):
    """What runs the indexer: one of the two."""

    target_ref: TargetRef | None = None
    template: Template | None = None

    def __post_init__(self) -> None:
        """Refuse both and none."""
        if (self.target_ref is None) == (self.template is None):
            raise ValueError("set exactly one of workload.template and workload.targetRef")


class LagPolicy(View, frozen=True):
    """What the policy Lag aims at: times in seconds."""

    catch_up_seconds: Positive = 120
    capacity_per_replica: Positive | None = None


class Stabilization(View, frozen=True):
    """How long the need must last before the policy Lag follows it, in seconds."""

    scale_up_seconds: Natural = 15
    scale_down_seconds: Natural = 300


class Scaling(View, frozen=True):
    """How many replicas there are to be."""

    policy: Policy = Policy.PARTITION_COUNT
    min_replicas: Natural = 1
    max_replicas: Positive = 64
    partitions_per_replica: Positive = 1
    replicas: Natural | None = None
    lag: LagPolicy = LagPolicy()
    stabilization: Stabilization = Stabilization()

    def __post_init__(self) -> None:
        """Refuse limits that leave no number between them."""
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"scaling.minReplicas ({self.min_replicas}) must not exceed scaling.maxReplicas ({self.max_replicas})"
            )


class DeadLetter(View, frozen=True):
    """Where events go that cannot be indexed, and how they come back."""

    topic: Text | None = None
    parking_topic: Text | None = None
    max_replays: Positive = 3


class Spec(View, frozen=True):
    """What is wanted."""

    source: Source
    workload: Workload
    mode: Mode = Mode.ACTIVE
    scaling: Scaling = Scaling()
    dead_letter: DeadLetter = DeadLetter()

    def __post_init__(self) -> None:
        """Refuse a topic that has two uses: its dead letters would be read as events, again and again."""
        names = (self.kafka.topic, self.dead_letter_topic, self.parking_topic)
        if len(set(names)) < len(names):
            raise ValueError(
                "source.kafka.topic, deadLetter.topic and deadLetter.parkingTopic must be three different topics, got "
                + ", ".join(names)
            )

    @property
    def kafka(self) -> Kafka:
        """The one source there is."""
        return self.source.kafka

    @property
    def dead_letter_topic(self) -> str:
        """Its name, as the indexer makes it up when none is given."""
        return self.dead_letter.topic or f"{self.kafka.topic}.dlq"

    @property
    def parking_topic(self) -> str:
        """Its name, as a replay makes it up when none is given."""
        return self.dead_letter.parking_topic or f"{self.dead_letter_topic}.parked"


def parse_spec(value: Body) -> Spec | InvalidSpec:
    """The spec behind the API server's JSON. The schema lets little in that is wrong; an older one may have."""
    try:
        return msgspec.convert(value, Spec)
    except msgspec.ValidationError as error:
        return InvalidSpec(f"spec: {error}")
