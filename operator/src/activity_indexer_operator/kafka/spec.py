"""Which topic of which Kafka cluster, and how its brokers are reached: `spec.source.kafka` of an ActivityIndexer."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from activity_indexer_operator.kube.objects import CredentialsRef, FileRef, NameRef, Natural, Text, View


class Security(View, frozen=True):
    """How the brokers are reached; the indexer and the operator use the same."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    credentials_secret_ref: CredentialsRef | None = None
    ca_secret_ref: FileRef | None = None
    client_certificate_secret_ref: NameRef | None = None
    check_hostname: bool = True


class Kafka(View, frozen=True):
    """The topic that is read, and the group that reads it."""

    bootstrap_servers: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    topic: Text
    consumer_group: Text
    start_from: Literal["Earliest", "Latest"] = "Earliest"
    topic_partitions: Natural = 0
    security: Security = Security()
