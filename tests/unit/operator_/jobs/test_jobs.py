"""The Jobs that the operator makes of an indexer's pod."""

import copy
from datetime import timedelta
from typing import Any

import pytest
from fixtures.operator import POD_TEMPLATE, START, ReplayWorld, result

from activity_indexer_operator.jobs.job import ANNOTATION_COMMAND, JobRequest, job_body, job_pod
from activity_indexer_operator.jobs.settings import Correction, JobSettings
from activity_indexer_operator.jobs.view import Ended, JobState, job_view
from activity_indexer_operator.kube.objects import Key, KeyRef, Meta
from activity_indexer_operator.kube.resources import JOBS
from activity_indexer_operator.replay.command import parse_result

OWNER = Meta(Key("DeadLetterReplay", "shop", "fix"), "uid-1", 1, {}, deleted=False)
WORDS = ("dead-letters", "replay", "--id", "x")


def request(**fields: Any) -> JobRequest:
    return JobRequest("fix-plan", OWNER, "orders", "dead-letter-replay", WORDS, **fields)


def pod(template: dict[str, Any]) -> dict[str, Any]:
    return job_pod(template, WORDS, None)


def template(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made = copy.deepcopy(POD_TEMPLATE)
    made["spec"]["containers"][0] |= container or {}
    made["spec"] |= spec
    return made


def test_the_pod_is_the_indexers_own_with_another_command() -> None:
    made = pod(
        template({"env": [{"name": "A", "value": "b"}], "volumeMounts": [{"name": "tmp", "mountPath": "/data"}]})
    )
    [container] = made["containers"]

    assert container["image"] == "activity-indexer:1"
    assert container["args"] == ["activity-indexer", *WORDS]
    assert (container["env"], container["envFrom"]) == (
        [{"name": "A", "value": "b"}],
        [{"configMapRef": {"name": "orders"}}],
    )
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/data"}]
    assert made["serviceAccountName"] == "orders"
    assert made["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("given", "command", "args"),
    [
        ({"args": ["activity-indexer", "run"]}, None, ["activity-indexer", *WORDS]),
        ({"args": ["/sbin/init", "activity-indexer", "run", "-v"]}, None, ["/sbin/init", "activity-indexer", *WORDS]),
        (
            {"command": ["tini", "--"], "args": ["activity-indexer", "run"]},
            ["tini", "--"],
            ["activity-indexer", *WORDS],
        ),
        ({"command": ["activity-indexer", "run"], "args": []}, ["activity-indexer"], [*WORDS]),
        ({"command": ["python", "consumer_worker.py"], "args": []}, ["activity-indexer"], [*WORDS]),
        ({"args": []}, None, ["activity-indexer", *WORDS]),
    ],
)
def test_what_stands_before_the_program_stays(
    given: dict[str, Any], command: list[str] | None, args: list[str]
) -> None:
    [container] = pod(template(given))["containers"]
    assert (container.get("command"), container["args"]) == (command, args)


def test_what_serves_a_deployment_is_left_out() -> None:
    serving = {"ports": [1], "livenessProbe": {}, "readinessProbe": {}, "startupProbe": {}, "lifecycle": {}}
    spread = {"topologySpreadConstraints": [1], "affinity": {"podAntiAffinity": {}, "nodeAffinity": {"x": 1}}}
    made = pod(template(serving, **spread))

    assert not serving.keys() & made["containers"][0].keys()
    assert "topologySpreadConstraints" not in made
    assert made["affinity"] == {"nodeAffinity": {"x": 1}}


def test_a_companion_that_never_ends_is_left_out() -> None:
    containers = [{"name": "logs", "image": "x"}, *POD_TEMPLATE["spec"]["containers"]]
    assert [each["name"] for each in pod(template(containers=containers))["containers"]] == ["indexer"]


def test_the_pod_is_restricted_where_the_indexers_says_nothing() -> None:
    made = pod(template())
    assert made["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert made["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert made["automountServiceAccountToken"] is False


def test_no_service_or_selector_of_the_indexer_counts_the_pod() -> None:
    labels = job_body(request(), POD_TEMPLATE)["spec"]["template"]["metadata"]["labels"]
    assert "app" not in labels
    assert labels["app.kubernetes.io/component"] == "dead-letter-replay"
    assert labels["activityindexer.io/indexer"] == "orders"


def test_the_template_stays_as_it_was() -> None:
    before = copy.deepcopy(POD_TEMPLATE)
    job_body(request(correction=Correction(inline="{}")), POD_TEMPLATE)
    assert before == POD_TEMPLATE


def test_exit_codes_that_no_second_try_changes_end_the_job() -> None:
    spec = job_body(request(settings=JobSettings(backoff_limit=5, active_deadline_seconds=60)), POD_TEMPLATE)["spec"]
    assert spec["podFailurePolicy"]["rules"][0] == {
        "action": "FailJob",
        "onExitCodes": {"containerName": "indexer", "operator": "In", "values": [2, 3, 4]},
    }
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["podReplacementPolicy"]) == (5, 60, "Failed")


def test_a_correction_in_the_replay_reaches_the_pod_without_an_object_of_its_own() -> None:
    spec = job_body(request(correction=Correction(inline='{"amount": null}')), POD_TEMPLATE)["spec"]["template"]
    [volume] = spec["spec"]["volumes"]
    [item] = volume["downwardAPI"]["items"]

    assert spec["metadata"]["annotations"] == {"activityindexer.io/correction": '{"amount": null}'}
    assert item["fieldRef"]["fieldPath"] == "metadata.annotations['activityindexer.io/correction']"
    assert spec["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "correction", "mountPath": "/etc/activity-indexer/correction", "readOnly": True}
    ]


def test_a_correction_in_a_config_map_is_mounted_from_there() -> None:
    correction = Correction(config_map_ref=KeyRef("patches", "amounts.json"))
    [volume] = job_body(request(correction=correction), POD_TEMPLATE)["spec"]["template"]["spec"]["volumes"]
    assert volume["configMap"] == {"name": "patches", "items": [{"key": "amounts.json", "path": "patch.json"}]}


def test_dollars_in_arguments_are_no_variables() -> None:
    [container] = job_pod(POD_TEMPLATE, ["--user=$(HOME)"], None)["containers"]
    assert container["args"][-1] == "--user=$$(HOME)"


def test_another_command_or_correction_has_another_hash() -> None:
    changed = request(correction=Correction(inline="{}"))
    assert job_body(request(), POD_TEMPLATE)["metadata"]["annotations"][ANNOTATION_COMMAND] == request().command_hash
    assert changed.command_hash != request().command_hash
    assert changed.command_hash != request(correction=Correction(inline='{"a":1}')).command_hash


def job_in(world: ReplayWorld) -> dict[str, Any]:
    world.cluster.put(JOBS, "fix-plan", {}, labels={}, ownerReferences=[{"kind": "DeadLetterReplay", "name": "fix",
              "uid": "uid-1", "controller": True}])  # fmt: skip
    return world.of(JOBS, "fix-plan")


def test_a_job_without_a_verdict_is_active() -> None:
    view = job_view("fix-plan", job_in(ReplayWorld()), [], START)
    assert view
    assert (view.state, view.owner, view.over) == (JobState.ACTIVE, "uid-1", False)


def test_a_deleted_job_is_stopping_while_a_pod_of_it_runs() -> None:
    world = ReplayWorld()
    job_in(world)
    running, ended = world.pod("fix-plan"), world.pod("fix-plan", "b", {"phase": "Failed"})

    assert job_view("fix-plan", None, [ended], START) is None
    view = job_view("fix-plan", None, [running, ended], START)
    assert view
    assert view.state is JobState.STOPPING


def test_the_last_pod_to_end_speaks_for_the_job_and_strangers_do_not() -> None:
    world = ReplayWorld()
    job = job_in(world)

    def ended(name: str, at: str, code: int) -> dict[str, Any]:
        end = {"exitCode": code, "reason": "Error", "message": name, "finishedAt": at}
        return world.pod("fix-plan", name, {"phase": "Failed", "containerStatuses": [{"state": {"terminated": end}}]})

    stranger = ended("stranger", "2026-11-23T14:00:00Z", 9)
    stranger["metadata"]["ownerReferences"][0]["uid"] = "another"
    pods = [ended("second", "2026-11-23T13:00:00Z", 4), ended("first", "2026-11-23T12:00:00Z", 1), stranger]
    view = job_view("fix-plan", job, pods, START)
    assert view
    assert view.ended == Ended(4, "Error", "second")


def waiting_container(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}


def why(world: ReplayWorld, pods: list[dict[str, Any]], seconds: int = 0) -> tuple[str, str] | None:
    view = job_view("fix-plan", world.of(JOBS, "fix-plan"), pods, START + timedelta(seconds=seconds))
    assert view
    return (view.waiting.reason, view.waiting.message) if view.waiting else None


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (waiting_container("ErrImagePull", "no such image"), "ImageNotPulled", "ErrImagePull: no such image"),
        (waiting_container("ImagePullBackOff"), "ImageNotPulled", "ImagePullBackOff"),
        (
            waiting_container("CreateContainerConfigError", 'secret "kafka" not found'),
            "ContainerRefused",
            'CreateContainerConfigError: secret "kafka" not found',
        ),
        (
            {"initContainerStatuses": waiting_container("CrashLoopBackOff")["containerStatuses"]},
            "PodWaiting",
            "CrashLoopBackOff",
        ),
        ({"conditions": [NO_NODE]}, "PodUnschedulable", "Unschedulable: 0/2 nodes"),
    ],
)
def test_what_the_pods_status_says_is_reported_at_once(status: dict[str, Any], reason: str, message: str) -> None:
    world = ReplayWorld()
    job_in(world)
    assert why(world, [world.pod("fix-plan", status={"phase": "Pending", **status})]) == (reason, message)


@pytest.mark.parametrize("status", [{}, waiting_container("ContainerCreating"), waiting_container("PodInitializing")])
def test_a_pod_that_says_nothing_and_does_not_start_is_reported_after_a_while(status: dict[str, Any]) -> None:
    world = ReplayWorld()
    job_in(world)
    pod = world.pod("fix-plan", status={"phase": "Pending", **status})
    assert why(world, [pod], 29) is None
    reported = why(world, [pod], 30)
    assert reported
    assert reported[0] == "PodNotStarted"
    assert "since 2026-11-23T12:00:00Z" in reported[1], "a number that grew would be written again and again"
    assert reported[1].endswith("kubectl -n shop describe pod fix-plan-pod")


def test_a_job_whose_pod_is_refused_is_reported_after_a_while() -> None:
    world = ReplayWorld()
    job_in(world)
    assert why(world, [], 29) is None
    reported = why(world, [], 30)
    assert reported
    assert reported[0] == "PodNotCreated"
    assert reported[1].endswith("kubectl -n shop describe job fix-plan")


def test_a_job_that_has_ended_waits_for_no_pod() -> None:
    world = ReplayWorld()
    job_in(world)
    world.end_job("fix-plan", "DeadlineExceeded")
    assert why(world, [], 3600) is None


def test_a_suspended_job_is_reported_at_once() -> None:
    world = ReplayWorld()
    job_in(world)["spec"]["suspend"] = True
    reported = why(world, [])
    assert reported
    assert (reported[0], "is suspended" in reported[1]) == ("PodNotCreated", True)


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Running"},
        {
            "phase": "Pending",
            "initContainerStatuses": [{"state": {"running": {}}}],
            **waiting_container("PodInitializing"),
        },
        {"phase": "Failed", **waiting_container("ImagePullBackOff")},
    ],
)
def test_a_pod_that_runs_or_has_ended_holds_nothing_up(status: dict[str, Any]) -> None:
    world = ReplayWorld()
    job_in(world)
    assert why(world, [world.pod("fix-plan", status=status)], 3600) is None


def test_the_result_is_found_among_other_words() -> None:
    words = f"a warning\n{result(matched=3)}\n"
    found = parse_result(Ended(0, "Completed", words))
    assert found
    assert found.matched == 3
    assert parse_result(Ended(1, "Error", '{"kind":"progress","outcome":""}')) is None
    assert parse_result(None) is None
