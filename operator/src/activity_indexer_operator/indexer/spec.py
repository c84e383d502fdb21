"""Typed view of an ActivityIndexer's spec; `charts/crds.py` writes the CRD from it.

The defaults are here, and not only in the schema: objects may be older than a field. Requests and schedules of
replays, and the purging of tombstones, have views of their own (tasks/).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from activity_common.setting_names import dead_letter_topic, parked_topic
from activity_indexer_operator.indexer.template import Template
from activity_indexer_operator.kafka.spec import Kafka, TopicName
from activity_indexer_operator.kube.objects import (
    Natural,
    Positive,
    Text,
    View,
)
from activity_indexer_operator.kube.schema import OBJECT_NAME, Rule, described


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
    """A workload made by others, in this namespace; only its replicas are set, by its scale subresource."""

    name: Annotated[Text, described("Its name.", maxLength=253, pattern=OBJECT_NAME)]
    kind: Annotated[Literal["Deployment", "StatefulSet"], described("Its kind.")] = "Deployment"


class Workload(View, frozen=True):
    """What runs the indexer: one that the operator makes (template), or one that exists (targetRef)."""

    RULES: ClassVar = (
        Rule(
            "has(self.targetRef) != has(self.template)",
            "set exactly one of template (the operator runs the indexer) and targetRef (it scales one that exists)",
        ),
    )

    target_ref: TargetRef | None = None
    template: Template | None = None

    def __post_init__(self) -> None:
        """Refuse both and none."""
        if (self.target_ref is None) == (self.template is None):
            raise ValueError("set exactly one of workload.template and workload.targetRef")


class LagPolicy(View, frozen=True):
    """What the policy Lag aims at."""

    catch_up_seconds: Annotated[Positive, described("Time in which what waits is to be worked off.", maximum=86400)] = (
        120
    )
    capacity_per_replica: Annotated[
        Positive | None,
        described("Events per second that one replica settles, until it has been measured.", maximum=10000000),
    ] = None


class Stabilization(View, frozen=True):
    """How long the need must last before the policy Lag follows it."""

    scale_up_seconds: Annotated[Natural, described("Upwards.", maximum=3600)] = 15
    scale_down_seconds: Annotated[Natural, described("Downwards.", maximum=3600)] = 300


class Scaling(View, frozen=True):
    """How many replicas there are to be; never more than the topic has partitions."""

    RULES: ClassVar = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not exceed maxReplicas: lower the one or raise the other",
        ),
        Rule(
            "self.policy != 'Manual' || has(self.replicas)",
            "policy Manual needs replicas: set it, or run kubectl scale first",
        ),
    )

    policy: Annotated[
        Policy,
        described(
            "PartitionCount: one replica for partitionsPerReplica partitions. Lag: as many as the load calls for. "
            "Manual: the number in replicas."
        ),
    ] = Policy.PARTITION_COUNT
    min_replicas: Annotated[Natural, described("Replicas at least.", maximum=10000)] = 1
    max_replicas: Annotated[Positive, described("Replicas at most.", maximum=10000)] = 64
    partitions_per_replica: Annotated[
        Positive,
        described(
            "How many partitions one replica takes: ceil(partitions / partitionsPerReplica) is what PartitionCount "
            "follows, and the most that Lag uses.",
            maximum=1000,
        ),
    ] = 1
    replicas: Annotated[
        Natural | None,
        described(
            "The number for policy Manual; `kubectl scale aidx NAME --replicas N` writes it. Other policies do not "
            "read it.",
            maximum=10000,
        ),
    ] = None
    lag: Annotated[LagPolicy, described("", default={"catchUpSeconds": 120})] = LagPolicy()
    stabilization: Annotated[Stabilization, described("", default={"scaleUpSeconds": 15, "scaleDownSeconds": 300})] = (
        Stabilization()
    )

    def __post_init__(self) -> None:
        """Refuse limits that leave no number between them."""
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"scaling.minReplicas ({self.min_replicas}) must not exceed scaling.maxReplicas ({self.max_replicas})"
            )


class DeadLetter(View, frozen=True):
    """Where events go that cannot be indexed, and how they come back."""

    topic: Annotated[TopicName | None, described("Dead-letter topic; absent: the topic's name with .dlq.")] = None
    parking_topic: Annotated[
        TopicName | None,
        described("Topic for events that keep coming back; absent: the dead-letter topic's name with .parked."),
    ] = None
    max_replays: Annotated[
        Positive, described("An event that was replayed this many times is parked instead.", maximum=100)
    ] = 3


class Spec(View, frozen=True):
    """What is wanted."""

    RULES: ClassVar = (
        Rule(
            "!has(self.deadLetter) || !has(self.deadLetter.topic) || self.deadLetter.topic != self.source.kafka.topic",
            "deadLetter.topic must not be the source topic: dead letters would be read as events",
        ),
        Rule(
            "!has(self.deadLetter) || !has(self.deadLetter.parkingTopic) || "
            "(self.deadLetter.parkingTopic != self.source.kafka.topic && "
            "self.deadLetter.parkingTopic != (has(self.deadLetter.topic) ? self.deadLetter.topic : "
            "self.source.kafka.topic + '.dlq'))",
            "deadLetter.parkingTopic must be a topic of its own",
        ),
        Rule(
            "!has(self.deadLetter) || !has(self.deadLetter.topic) || has(self.deadLetter.parkingTopic) || "
            "self.deadLetter.topic + '.parked' != self.source.kafka.topic",
            "parked dead letters would go to the source topic: set deadLetter.parkingTopic",
        ),
        Rule(
            "has(self.deadLetter) && has(self.deadLetter.topic) ? has(self.deadLetter.parkingTopic) || "
            "size(self.deadLetter.topic) <= 242 : size(self.source.kafka.topic) <= (has(self.deadLetter) && "
            "has(self.deadLetter.parkingTopic) ? 245 : 238)",
            "a topic's name has at most 249 characters, and .dlq and .parked are added to this one: set "
            "deadLetter.topic and deadLetter.parkingTopic",
        ),
    )

    source: Source
    workload: Workload
    mode: Annotated[
        Mode,
        described(
            "Active acts. DryRun decides, reports its decision, and does nothing. Paused leaves the workload as it is. "
            "Suspended scales it to zero."
        ),
    ] = Mode.ACTIVE
    scaling: Annotated[
        Scaling,
        described(
            "", default={"policy": "PartitionCount", "minReplicas": 1, "maxReplicas": 64, "partitionsPerReplica": 1}
        ),
    ] = Scaling()
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
        return self.dead_letter.topic or dead_letter_topic(self.kafka.topic)

    @property
    def parking_topic(self) -> str:
        """Its name, as a replay makes it up when none is given."""
        return self.dead_letter.parking_topic or parked_topic(self.dead_letter_topic)
