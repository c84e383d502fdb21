"""Typed view of an ActivityIndexer's spec; `charts/crds.py` writes the CRD from it.

The defaults are here, and not only in the schema: objects may be older than a field. Requests and schedules of
replays, and the purging of tombstones, have views of their own (tasks/).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from activity_common.setting_names import dead_letter_topic, parked_topic
from activity_indexer_operator.kafka.spec import Kafka, TopicName
from activity_indexer_operator.kube.objects import (
    FileRef,
    KeyRef,
    NameRef,
    Natural,
    Positive,
    Text,
    View,
)
from activity_indexer_operator.kube.schema import OBJECT_NAME, Labels, NamedParts, Parts, Rule, described, secret


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


ONE_ADDRESS: Final = Rule("!(has(self.url) && has(self.urlSecretRef))", "set url or urlSecretRef, not both")
SECRET_URL: Final = secret("Secret with the URL, where that holds a password.", entry=True)
REDIS_URL: Final = (
    r"^rediss?://[^\s/?#,]+(/[0-9]*)?(\?((client_name|db|health_check_interval|protocol|socket_keepalive|ssl_ca_certs|"
    r"ssl_cert_reqs|ssl_certfile|ssl_check_hostname|ssl_keyfile)=[^\s&]+(&|$))*)?$"
)


class Elasticsearch(View, frozen=True):
    """Where documents go. The Secret has `username` and `password`, or `api-key`."""

    RULES: ClassVar = (
        Rule("has(self.url) || has(self.urlSecretRef)", "Elasticsearch has no address: set url or urlSecretRef"),
        ONE_ADDRESS,
    )

    url: Annotated[
        Text | None,
        described(
            "One node or several, separated by commas, without password.",
            maxLength=2048,
            pattern=r"^(http://[^\s,?#]+( *, *http://[^\s,?#]+)*|https://[^\s,?#]+( *, *https://[^\s,?#]+)*)$",
        ),
    ] = None
    url_secret_ref: Annotated[KeyRef | None, SECRET_URL] = None
    index: Annotated[
        Text, described("Alias that is written and searched.", pattern=r"^[a-z0-9][a-z0-9._-]{0,200}$")
    ] = "transactions"
    create_index: Annotated[
        bool, described("Whether the indexer creates the index, its mapping and alias when they are missing.")
    ] = True
    credentials_secret_ref: Annotated[NameRef | None, secret("Secret with username and password, or with api-key.")] = (
        None
    )
    ca_secret_ref: Annotated[
        FileRef | None, described("Secret with the CA certificates (PEM); absent: the system's.")
    ] = None


class Redis(View, frozen=True):
    """Where seen message ids are kept; absent: redis://redis:6379/0."""

    RULES: ClassVar = (ONE_ADDRESS,)

    url: Annotated[
        Text | None,
        described("Server and database, without password; rediss:// for TLS.", maxLength=2048, pattern=REDIS_URL),
    ] = None
    url_secret_ref: Annotated[KeyRef | None, SECRET_URL] = None
    ca_secret_ref: Annotated[
        FileRef | None, described("Secret with the CA certificates (PEM) for rediss://; absent: the system's.")
    ] = None


class Database(View, frozen=True):
    """Where the audit is written; absent: the indexer's default."""

    RULES: ClassVar = (ONE_ADDRESS,)

    url: Annotated[
        Text | None,
        described(
            "PostgreSQL server and database, without password.", maxLength=2048, pattern=r"^postgres(ql)?://\S+$"
        ),
    ] = None
    url_secret_ref: Annotated[KeyRef | None, SECRET_URL] = None
    ca_secret_ref: Annotated[FileRef | None, described("Secret with the CA certificates (PEM).")] = None


class Audit(View, frozen=True):
    """The rows in PostgreSQL."""

    enabled: Annotated[bool, described("Whether the audit is written.")] = True
    database: Database = Database()


class Batch(View, frozen=True):
    """When a batch is sent."""

    size: Annotated[
        Positive,
        described("Events with which a batch is full. Full batches that wait are sent together.", maximum=10000),
    ] = 500
    timeout_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        described("Age at which a batch is sent though it is not full.", minimum=0.01, maximum=600),
    ] = 1.0
    bytes: Annotated[
        Positive | None,
        described(
            "Bytes of event values with which a batch is full, and of one request at most; absent: the indexer's "
            "default.",
            minimum=1024,
            maximum=94371840,
        ),
    ] = None


class Account(View, frozen=True):
    """The pods' service account; no token of it is mounted."""

    name: Annotated[
        Text | None,
        described("An existing one; absent: one is made, named as this object.", maxLength=253, pattern=OBJECT_NAME),
    ] = None
    annotations: Annotated[Labels, described("Annotations of the one that is made.")] = msgspec.field(
        default_factory=dict
    )


class Template(View, frozen=True):
    """An indexer that the operator runs: its workload and what belongs to that, named as this object.

    These are ServiceAccount, ConfigMap, Service, PodDisruptionBudget and the workload itself. Parts named as in a pod
    are given on as they are.
    """

    REQUIRED: ClassVar = ("elasticsearch",)

    image: Annotated[
        Text | None,
        described("Image of the indexer; absent: the one that the operator was installed with.", maxLength=512),
    ] = None
    image_pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], described("When the image is pulled.")] = (
        "IfNotPresent"
    )
    image_pull_secrets: Annotated[
        tuple[Annotated[NameRef, secret("A Secret.")], ...],
        described("Secrets for the image's registry.", list_type="map", keys=("name",), maxItems=8),
    ] = ()
    elasticsearch: Elasticsearch = Elasticsearch()
    redis: Redis = Redis()
    audit: Audit = Audit()
    batch: Batch = Batch()
    dedup: Annotated[bool, described("Whether duplicates are looked for before Elasticsearch is asked.")] = True
    enrichments: Annotated[
        tuple[Annotated[Text, described("", maxLength=64)], ...],
        described("Names of the enrichment strategies to use; empty: all.", list_type="set", maxItems=64),
    ] = ()
    log_level: Annotated[Literal["debug", "info", "warning", "error"], described("Least level that is logged.")] = (
        "info"
    )
    shutdown_timeout_seconds: Annotated[
        Positive,
        described(
            "Time to finish what is under way at the end of a pod; the grace period is longer by a margin.",
            maximum=3600,
        ),
    ] = 20
    max_unavailable: Annotated[
        Positive,
        described("Pods that may be unavailable at once, in a rollout and while nodes are drained.", maximum=10000),
    ] = 1
    resources: Annotated[
        dict[str, Any],
        described(
            "Requests and limits of the indexer's container; absent: 100m and 128Mi requested, and as a limit 256Mi "
            "more than CONSUMER_MEMORY_BUDGET in extraEnv, which is 256Mi by default."
        ),
    ] = msgspec.field(default_factory=dict)
    extra_env: Annotated[
        NamedParts,
        described(
            "Further variables of the container, as in a pod. Settings of the indexer that have no field here belong "
            "here; they win over the fields.",
            maxItems=128,
        ),
    ] = ()
    extra_env_from: Annotated[
        Parts, described("ConfigMaps and Secrets whose entries become variables, as in a pod.", maxItems=16)
    ] = ()
    extra_volumes: Annotated[NamedParts, described("Further volumes, as in a pod.", maxItems=32)] = ()
    extra_volume_mounts: Annotated[Parts, described("Where they are mounted, as in a container.", maxItems=32)] = ()
    pod_labels: Annotated[Labels, described("Further labels of the pods.")] = msgspec.field(default_factory=dict)
    pod_annotations: Annotated[Labels, described("Further annotations of the pods.")] = msgspec.field(
        default_factory=dict
    )
    service_account: Account = Account()
    node_selector: Annotated[Labels, described("Labels that a node must have.")] = msgspec.field(default_factory=dict)
    tolerations: Annotated[Parts, described("Taints that the pods tolerate, as in a pod.", maxItems=32)] = ()
    affinity: Annotated[dict[str, Any], described("Where the pods are scheduled, as in a pod.")] = msgspec.field(
        default_factory=dict
    )
    topology_spread_constraints: Annotated[
        Parts | None,
        described("How the pods are spread, as in a pod; absent: over nodes, where that is possible.", maxItems=8),
    ] = None
    priority_class_name: Annotated[str, described("Priority class of the pods.", maxLength=253)] = ""


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
