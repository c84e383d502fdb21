"""Which topic of which Kafka cluster, and how its brokers are reached: `spec.source.kafka` of an ActivityIndexer."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from activity_indexer_operator.kube.objects import CredentialsRef, FileRef, NameRef, Natural, Text, View
from activity_indexer_operator.kube.schema import Rule, described, secret

TopicName = Annotated[Text, described("", maxLength=249, pattern=r"^(\.{0,2}[a-zA-Z0-9_-]|\.{3})[a-zA-Z0-9._-]*$")]
GROUP_IS_FIXED: Final[dict[str, Any]] = {
    "maxLength": 255,
    "x-kubernetes-validations": [
        {
            "rule": "self == oldSelf",
            "message": "consumerGroup is immutable: another group would lose the committed offsets; create a new "
            "ActivityIndexer",
        }
    ],
}


class Security(View, frozen=True):
    """How the brokers are reached; the indexer and the operator use the same."""

    RULES: ClassVar = (
        Rule(
            "!self.protocol.startsWith('SASL') || (has(self.saslMechanism) && has(self.credentialsSecretRef))",
            "a SASL protocol needs saslMechanism and credentialsSecretRef: set both, or protocol to PLAINTEXT or SSL",
        ),
        Rule(
            "self.protocol.endsWith('SSL') || !(has(self.caSecretRef) || has(self.clientCertificateSecretRef))",
            "caSecretRef and clientCertificateSecretRef are of use with protocol SSL or SASL_SSL only: set one of "
            "these, or remove them",
        ),
    )

    protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        described("Whether the connection is encrypted (SSL) and whether a user logs in (SASL)."),
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None, described("How the user logs in.")
    ] = None
    credentials_secret_ref: Annotated[CredentialsRef | None, described("Secret with the user and the password.")] = None
    ca_secret_ref: Annotated[
        FileRef | None,
        described(
            "Secret with the CA certificates (PEM) that the brokers' certificates are checked against; absent: the "
            "system's."
        ),
    ] = None
    client_certificate_secret_ref: Annotated[
        NameRef | None, secret("Secret of type kubernetes.io/tls with the client's certificate and key.")
    ] = None
    check_hostname: Annotated[bool, described("Whether a broker's certificate must name its host.")] = True


class Kafka(View, frozen=True):
    """The topic that is read, and the group that reads it."""

    bootstrap_servers: Annotated[
        tuple[Annotated[Text, described("", maxLength=260, pattern=r"^[^:\s,]+:[0-9]{1,5}$")], ...],
        msgspec.Meta(min_length=1),
        described("Brokers to ask first, each host:port.", list_type="set", maxItems=32),
    ]
    topic: Annotated[TopicName, described("Topic of the transaction events; its partitions are counted.")]
    consumer_group: Annotated[
        Text,
        described(
            "Consumer group of the indexer. It cannot be changed: a new group would start from scratch.",
            **GROUP_IS_FIXED,
        ),
    ]
    start_from: Annotated[Literal["Earliest", "Latest"], described("Where a new group begins.")] = "Earliest"
    topic_partitions: Annotated[
        Natural,
        described(
            "Number of partitions with which the indexer creates a missing topic; 0: it waits for the topic.",
            maximum=10000,
        ),
    ] = 0
    security: Security = Security()
