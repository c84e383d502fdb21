"""What the charts make of their values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import EXAMPLES, KNOWN, ROOT, needs, objects, pods, refusal, template

pytestmark = needs("helm")

CRDS = sorted(path for path in (ROOT / "k8s/crd").glob("*.yaml") if path.name != "kustomization.yaml")
by_name = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parents[1].name}:{path.stem}")


def rendered(example: Path) -> str:
    return template(example.parents[1].name, "--values", str(example))


def one(text: str, kind: str) -> dict[str, Any]:
    [body] = objects(text, kind)
    return body


def without(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in keys}


@pytest.mark.parametrize("source", CRDS, ids=lambda path: path.stem)
def test_a_crd_is_the_one_of_k8s_and_survives_an_uninstall(source: Path) -> None:
    wanted = yaml.safe_load(source.read_text())
    crds = objects(template("activity-indexer-operator"), "CustomResourceDefinition")
    [found] = [crd for crd in crds if crd["metadata"]["name"] == wanted["metadata"]["name"]]
    assert found["spec"] == wanted["spec"]
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_operator_may_do_what_k8s_says_and_no_more() -> None:
    documents = yaml.safe_load_all((ROOT / "k8s/operator/rbac.yaml").read_text())
    wanted = [rule for document in documents if document["kind"] == "Role" for rule in document["rules"]]
    text = template("activity-indexer-operator", "--set", "fullnameOverride=activity-indexer-operator")
    found = [rule for role in objects(text, "Role") for rule in role["rules"]]
    assert sorted(found, key=json.dumps) == sorted(wanted, key=json.dumps)


def test_the_operator_may_touch_its_own_lease() -> None:
    text = template("activity-indexer-operator")
    [lease] = [
        entry["value"]
        for entry in one(text, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
        if entry["name"] == "OPERATOR_LEASE_NAME"
    ]
    named = [rule for role in objects(text, "Role") for rule in role["rules"] if "resourceNames" in rule]
    assert [(rule["resources"], rule["resourceNames"]) for rule in named] == [(["leases"], [lease])]


@by_name
def test_every_pod_passes_the_restricted_pod_security_standard(example: Path) -> None:
    for pod in pods(rendered(example)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@by_name
def test_only_the_operator_has_a_token(example: Path) -> None:
    for pod in pods(rendered(example)):
        assert pod["automountServiceAccountToken"] is (pod["containers"][0]["name"] == "operator")


@by_name
def test_no_secret_is_made(example: Path) -> None:
    assert objects(rendered(example), "Secret") == []


def test_the_operator_alone_decides_the_number_of_pods() -> None:
    scaled = template("activity-indexer", "--set", "operator.enabled=false")
    fixed = template("activity-indexer", "--set", "operator.enabled=false,activityIndexer.enabled=false,replicas=3")
    assert "replicas" not in one(scaled, "Deployment")["spec"]
    assert one(fixed, "Deployment")["spec"]["replicas"] == 3


@pytest.mark.parametrize(("shutdown", "grace"), [("20", 35), ("45.5", 61)])
def test_the_grace_period_follows_the_shutdown_limit(shutdown: str, grace: int) -> None:
    text = template("activity-indexer", "--set", f"operator.enabled=false,config.CONSUMER_SHUTDOWN_TIMEOUT={shutdown}")
    assert one(text, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace


def test_other_settings_make_other_pods() -> None:
    sums = {
        one(
            template("activity-indexer", "--set", f"operator.enabled=false,config.CONSUMER_BATCH_SIZE={size}"),
            "Deployment",
        )["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for size in (100, 200)
    }
    assert len(sums) == 2


def test_large_numbers_are_written_out() -> None:
    settings = one(template("activity-indexer", "--set", "config.CONSUMER_BATCH_BYTES=5242880"), "ConfigMap")["data"]
    assert settings["CONSUMER_BATCH_BYTES"] == "5242880"


def test_a_secret_wins_over_a_plain_setting() -> None:
    text = template(
        "activity-indexer", "--set", "operator.enabled=false,secrets.REDIS_URL.name=a,secrets.REDIS_URL.key=b"
    )
    assert "REDIS_URL" not in one(text, "ConfigMap")["data"]
    [container] = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "REDIS_URL", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}} in container["env"]


def test_the_first_install_makes_the_resource_by_a_hook_that_an_uninstall_undoes() -> None:
    made, taken = objects(template("activity-indexer"), "ActivityIndexer")
    assert made["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-rollback"
    assert made["metadata"]["annotations"]["meta.helm.sh/release-name"] == "demo"
    assert taken["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert taken["spec"] == made["spec"] | {"mode": "Paused"}


def test_where_the_kind_is_known_the_resource_is_an_object_like_others() -> None:
    made = one(template("activity-indexer", "--api-versions", KNOWN), "ActivityIndexer")
    assert "helm.sh/hook" not in made["metadata"].get("annotations", {})


def test_the_resource_names_the_charts_own_deployment() -> None:
    text = template("activity-indexer", "--api-versions", KNOWN, "--set", "operator.enabled=false")
    target = one(text, "ActivityIndexer")["spec"]["workload"]["targetRef"]
    assert target == {"kind": "Deployment", "name": one(text, "Deployment")["metadata"]["name"]}


def test_with_mode_resource_the_operator_makes_everything_else() -> None:
    text = template("activity-indexer", "--set", "mode=resource,operator.enabled=false,tests.enabled=false")
    assert {body["kind"] for body in objects(text)} == {"ActivityIndexer"}


def test_a_settings_value_reaches_the_resource_in_either_way() -> None:
    text = template(
        "activity-indexer", "--api-versions", KNOWN, "--set",
        "mode=resource,config.CONSUMER_BATCH_SIZE=700,config.CONSUMER_MAX_IN_FLIGHT=3,config.CONSUMER_SHUTDOWN_TIMEOUT=31",
    )  # fmt: skip
    made = one(text, "ActivityIndexer")["spec"]["workload"]["template"]
    assert made["batch"]["size"] == 700
    assert made["shutdownTimeoutSeconds"] == 31
    assert {"name": "CONSUMER_MAX_IN_FLIGHT", "value": "3"} in made["extraEnv"]


def test_the_operator_may_read_the_secrets_of_kafka_by_name_and_no_others() -> None:
    example = ROOT / "charts/activity-indexer/examples/production.yaml"
    [role] = [
        role for role in objects(rendered(example), "Role") if role["metadata"]["name"].endswith("-kafka-secrets")
    ]
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["kafka-ca", "kafka-login"], "verbs": ["get"]}
    ]


def test_a_digest_decides_which_image_runs() -> None:
    digest = "sha256:" + "a" * 64
    text = template(
        "activity-indexer", "--set", f"operator.enabled=false,image.digest={digest},image.registry=r.example"
    )
    [container] = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"r.example/activity-indexer:0.2.0@{digest}"


def test_a_load_job_has_another_name_when_its_options_are_others() -> None:
    names = {
        one(template("activity-indexer", "--set", f"loadgen.enabled=true,loadgen.args={{--count={count}}}"), "Job")[
            "metadata"
        ]["name"]
        for count in (1, 2)
    }
    assert len(names) == 2


def test_the_load_generator_learns_of_no_database() -> None:
    text = rendered(ROOT / "charts/activity-indexer/examples/production.yaml")
    [container] = one(text, "Pod")["spec"]["containers"]
    assert {entry["name"].split("_")[0] for entry in container["env"]} == {"KAFKA", "ELASTICSEARCH"}


def test_a_wide_operator_has_its_lease_at_home_and_its_work_everywhere() -> None:
    text = template("activity-indexer-operator", "--set", "watch.clusterWide=true")
    work = [role for role in objects(text, "ClusterRole") if "aggregate" not in str(role["metadata"]["labels"])]
    assert len(work) == 1
    assert all("leases" in rule["resources"] for role in objects(text, "Role") for rule in role["rules"])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("config.REDIS_URL=redis://:secret@redis:6379/0", "secrets.REDIS_URL"),
        ("config.CONSUMER_SHUTDOWN_TIMEOUT=90", "config.KAFKA_REBALANCE_TIMEOUT"),
        ("terminationGracePeriodSeconds=10", "must be above config.CONSUMER_SHUTDOWN_TIMEOUT"),
        ("mode=resource,activityIndexer.enabled=false", "needs activityIndexer.enabled: true"),
        ("config.KAFKA_SECURITY_PROTOCOL=SASL_SSL", "secrets.KAFKA_SASL_USERNAME"),
        ("config.KAFKA_SASL_PASSWORD=secret", "KAFKA_SASL_PASSWORD"),
        ("config.CONSUMER_BATCH_SIZ=3", "CONSUMER_BATCH_SIZ"),
        ("config.CONSUMER_BATCH_SIZE=0", "CONSUMER_BATCH_SIZE"),
        ("config.KAFKA_HEARTBEAT_INTERVAL=4", "at most a third of config.KAFKA_SESSION_TIMEOUT (9 s)"),
        ("config.KAFKA_SESSION_TIMEOUT=90", "at most config.KAFKA_REBALANCE_TIMEOUT (60 s)"),
        ("config.KAFKA_DEAD_LETTER_TOPIC=transactions", "must be three different topics"),
        ("config.KAFKA_PARKED_TOPIC=transactions.dlq", "must be three different topics"),
        ("config.KAFKA_TRANSACTIONS_TOPIC=my topic", "KAFKA_TRANSACTIONS_TOPIC"),
        ("config.KAFKA_DEAD_LETTER_TOPIC=..", "KAFKA_DEAD_LETTER_TOPIC"),
        ("config.REDIS_URL=redis://redis/cache", "REDIS_URL"),
        ("config.REDIS_URL=redis://redis?ssl=true", "REDIS_URL"),
        ("config.CONSUMER_MEMORY_BUDGET=134217728", "at least 16 times config.KAFKA_MAX_RECORD_BYTES (16777216)"),
        (
            "resources.limits.memory=500M",
            "resources.limits.memory (500M) must be at least config.CONSUMER_MEMORY_BUDGET",
        ),
        ("replica=3", "replica"),
        ("image.digest=latest", "digest"),
        ("operator.watch.clusterWide=yes", "clusterWide"),
        ("operator.watch.clusterWide=true,operator.watch.namespaces={a}", "watch.namespaces"),
        ("operator.settings.OPERATOR_NAMESPACES=a", "settings.OPERATOR_NAMESPACES"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_reason(values: str, reason: str) -> None:
    assert reason in refusal("activity-indexer", "--set", values)


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ("mode=deployment", "512Mi"),
        ("config.CONSUMER_MEMORY_BUDGET=536870912", "768Mi"),
        ("config.CONSUMER_MEMORY_BUDGET=67108864,config.KAFKA_MAX_RECORD_BYTES=4194304", "320Mi"),
        ("resources.limits.memory=1Gi", "1Gi"),
    ],
)
def test_the_limit_of_memory_follows_from_the_budget(values: str, limit: str) -> None:
    deployments = objects(template("activity-indexer", "--set", values), "Deployment")
    (pod,) = [body["spec"]["template"]["spec"] for body in deployments if body["metadata"]["name"].endswith("-indexer")]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"memory": limit}
    resource = template("activity-indexer", "--set", f"{values},mode=resource")
    found = [body["spec"]["workload"]["template"]["resources"] for body in objects(resource, "ActivityIndexer")]
    assert {str(each["limits"]) for each in found} == {str({"memory": limit})}
