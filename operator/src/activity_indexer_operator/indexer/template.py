"""Typed view of `spec.workload.template` of an ActivityIndexer: the indexer that the operator runs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from activity_indexer_operator.kube.objects import (
    FileRef,
    KeyRef,
    NameRef,
    Positive,
    Text,
    View,
)
from activity_indexer_operator.kube.schema import OBJECT_NAME, Labels, NamedParts, Parts, Rule, described, secret

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
