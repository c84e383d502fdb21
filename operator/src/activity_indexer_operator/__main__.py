"""Starts the operator: `activity-indexer-operator`."""

from __future__ import annotations

import os
import sys

import kopf

from activity_indexer_operator.cluster import KubernetesCluster
from activity_indexer_operator.handlers import registry_for
from activity_indexer_operator.kafka_metadata import KafkaTopics
from activity_indexer_operator.logs import configure
from activity_indexer_operator.reconciler import Reconciler
from activity_indexer_operator.settings import Settings, SettingsError, load_settings
from activity_indexer_operator.worker import Worker

EXIT_USAGE = 2


def main() -> None:
    """Watches until SIGTERM; exit code 2 when a setting is wrong."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_USAGE) from None
    configure(settings.log_level)
    run(settings)


def run(settings: Settings) -> None:
    """Wires the parts and lets kopf drive them."""
    cluster = KubernetesCluster.connected(settings.cluster_timeout)
    reconciler = Reconciler(cluster, KafkaTopics(settings.kafka_timeout))
    worker = Worker(reconciler.reconcile, settings.resync_interval)
    kopf.run(
        registry=registry_for(worker, settings.stall_timeout),
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
        standalone=True,
        liveness_endpoint=f"http://0.0.0.0:{settings.http_port}/healthz",
    )


if __name__ == "__main__":
    main()
