from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from fixtures.memory.cluster import merged
from fixtures.operator import SPEC

from activity_indexer_operator.indexer.objects.environment import environment
from activity_indexer_operator.indexer.objects.manifests import CONFIG_HASH, Manifest, manifests
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.kube.objects import Key, Meta, parsed_spec

META = Meta(Key("ActivityIndexer", "shop", "orders"), "uid-1", 1, {}, deleted=False)
SETTINGS = Path(__file__).parents[5] / "docs" / "settings.md"
FULL: dict[str, Any] = merged(
    SPEC,
    {
        "source": {
            "kafka": {
                "security": {
                    "protocol": "SASL_SSL",
                    "saslMechanism": "SCRAM-SHA-512",
                    "credentialsSecretRef": {"name": "kafka-user"},
                    "caSecretRef": {"name": "kafka-ca"},
                    "clientCertificateSecretRef": {"name": "kafka-client"},
                }
            }
        },
        "workload": {
            "template": {
                "image": "registry.example.com/indexer:1",
                "elasticsearch": {
                    "url": None,
                    "urlSecretRef": {"name": "es", "key": "url"},
                    "credentialsSecretRef": {"name": "es"},
                    "caSecretRef": {"name": "es-ca", "key": "ca.pem"},
                },
                "redis": {"url": "rediss://redis:6380/1", "caSecretRef": {"name": "redis-ca"}},
                "audit": {"database": {"urlSecretRef": {"name": "pg", "key": "url"}, "caSecretRef": {"name": "pg-ca"}}},
                "batch": {"size": 50, "timeoutSeconds": 0.5, "bytes": 4096},
                "enrichments": ["card", "p2p"],
                "shutdownTimeoutSeconds": 40,
                "extraEnv": [{"name": "KAFKA_SESSION_TIMEOUT", "value": "45"}, {"name": "REDIS_URL", "value": "x"}],
                "nodeSelector": {"disk": "fast"},
            }
        },
    },
)


def spec_of(value: dict[str, Any]) -> Spec:
    spec = parsed_spec({"spec": value}, Spec)
    assert isinstance(spec, Spec), spec
    return spec


def made(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The bodies by kind."""
    spec = spec_of(value)
    assert spec.workload.template is not None
    found: tuple[Manifest, ...] = manifests(META, spec, spec.workload.template, "activity-indexer:dev")
    return {manifest.resource.kind: manifest.body for manifest in found}


def pod(value: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = made(value)["Deployment"]["spec"]["template"]
    return template


@pytest.mark.parametrize("value", [SPEC, FULL], ids=["minimal", "full"])
def test_every_variable_is_a_setting_of_the_indexer(value: dict[str, Any]) -> None:
    known = set(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS.read_text(encoding="utf-8"), re.MULTILINE))
    names = {entry["name"] for entry in pod(value)["spec"]["containers"][0]["env"]}
    assert names | made(value)["ConfigMap"]["data"].keys() <= known


def test_a_pod_passes_the_restricted_standard_and_has_no_token() -> None:
    spec = pod(SPEC)["spec"]
    [container] = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert made(SPEC)["ServiceAccount"]["automountServiceAccountToken"] is False


def test_the_grace_period_outlasts_the_shutdown_limit() -> None:
    assert pod(FULL)["spec"]["terminationGracePeriodSeconds"] == 55
    assert made(FULL)["ConfigMap"]["data"]["CONSUMER_SHUTDOWN_TIMEOUT"] == "40"


def test_replicas_are_nobodys_in_what_is_applied() -> None:
    assert "replicas" not in made(SPEC)["Deployment"]["spec"]


def test_everything_belongs_to_the_object_and_blocks_no_deletion() -> None:
    for body in made(FULL).values():
        [owner] = body["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("uid-1", True, False)


def test_another_configuration_rolls_the_pods_and_the_same_does_not() -> None:
    def mark(value: dict[str, Any]) -> str:
        return str(pod(value)["metadata"]["annotations"][CONFIG_HASH])

    changed = merged(SPEC, {"workload": {"template": {"logLevel": "debug"}}})
    scaled = merged(SPEC, {"scaling": {"maxReplicas": 3}})
    assert mark(changed) != mark(SPEC) == mark(scaled)


def test_secrets_are_named_and_never_copied() -> None:
    found = environment(spec_of(FULL), spec_of(FULL).workload.template or pytest.fail("no template"))
    assert {secret.variable: (secret.ref.name, secret.ref.key) for secret in found.secrets} == {
        "KAFKA_SASL_USERNAME": ("kafka-user", "username"),
        "KAFKA_SASL_PASSWORD": ("kafka-user", "password"),
        "ELASTICSEARCH_USERNAME": ("es", "username"),
        "ELASTICSEARCH_PASSWORD": ("es", "password"),
        "ELASTICSEARCH_API_KEY": ("es", "api-key"),
        "ELASTICSEARCH_URL": ("es", "url"),
        "DATABASE_URL": ("pg", "url"),
    }


def test_certificates_are_mounted_where_the_settings_look_for_them() -> None:
    spec, data = pod(FULL)["spec"], made(FULL)["ConfigMap"]["data"]
    assert data["KAFKA_SSL_CA_FILE"] == "/etc/activity-indexer/kafka-ca/ca.crt"
    assert data["ELASTICSEARCH_CA_FILE"] == "/etc/activity-indexer/elasticsearch-ca/ca.pem"
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    assert secrets["kafka-client"] == "kafka-client"
    assert mounts["kafka-client"] == "/etc/activity-indexer/kafka-client"
    assert secrets.keys() <= mounts.keys()


def test_variables_that_are_given_win_over_fields() -> None:
    env = pod(FULL)["spec"]["containers"][0]["env"]
    assert [entry for entry in env if entry["name"] == "REDIS_URL"] == [{"name": "REDIS_URL", "value": "x"}]


def test_the_names_that_the_indexer_makes_up_are_given_to_it() -> None:
    assert made(SPEC)["ConfigMap"]["data"]["KAFKA_DEAD_LETTER_TOPIC"] == "transactions.dlq"


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ([], "512Mi"),
        ([{"name": "CONSUMER_MEMORY_BUDGET", "value": "536870912"}], "768Mi"),
        ([{"name": "CONSUMER_MEMORY_BUDGET", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}], "512Mi"),
    ],
)
def test_the_limit_of_memory_follows_from_the_budget(variables: list[dict[str, Any]], limit: str) -> None:
    value = copy.deepcopy(SPEC)
    value["workload"]["template"]["extraEnv"] = variables
    [container] = pod(value)["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": limit}
