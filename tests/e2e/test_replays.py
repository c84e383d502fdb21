"""Events that could not be indexed, from the first sign of them to their documents, by DeadLetterReplays.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.api_audit import asked, forbidden
from e2e.commands import eventually
from e2e.replays import CORRECTION, history, order, poison, reached
from e2e.rights import granted, with_creations
from e2e.sample import OPERATOR, OPERATORS, PARTITIONS, RESOURCE, WORKLOAD, begin_sample
from e2e.show import Show
from e2e.story import Story
from e2e.traces import COLLECTOR, Span, jaeger, spans

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

POISON, LATER, TORN, SLOW = 20, 5, 4, 12
DOCUMENTS = POISON + LATER + TORN + SLOW
EVERY_MINUTE = "* * * * *"
STATEFUL = "stateful"
TRACED = (
    {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": COLLECTOR},
    {"name": "OTEL_METRICS_EXPORTER", "value": "none"},
)
TRACE = secrets.token_hex(16)
SAMPLE = "deadletterreplay/transactions-refused"
ROLE = "role/activity-indexer-operator"
STATUS_RIGHT = "deadletterreplays/status"


@pytest.fixture(scope="module")
def paid(begin: Callable[[str], Story], tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A namespace with an operator and an indexer."""
    return begin_sample(begin, "paid", tmp_path_factory.mktemp("paid"), TRACED)


def test_the_minimal_sample_is_a_running_indexer(paid: Story) -> None:
    eventually(lambda: paid.condition(RESOURCE) == "ReplicasAvailable", "the resource is ready", timeout=300)
    assert paid.condition(RESOURCE, "DeadLetterEmpty") in {"NothingWaiting", "NotObserved"}
    # Purges are due all the time from here on; they wait while a replay is open.
    paid.cluster.change(RESOURCE, tombstones={"purgeSchedule": EVERY_MINUTE})


def test_poison_shows_in_a_condition_and_a_column(paid: Story) -> None:
    paid.publish(*poison(0, POISON - 1))
    paid.publish(*poison(POISON - 1, 1), traceparent=f"00-{TRACE}-{secrets.token_hex(8)}-01")
    eventually(lambda: paid.depth(RESOURCE) == POISON, f"{POISON} dead letters", timeout=120)
    eventually(lambda: paid.condition(RESOURCE, "DeadLetterEmpty") == "EventsWaiting", "the condition", timeout=60)
    heading, row = paid.cluster.kubectl("get", "aidx").stdout.splitlines()
    assert row.split()[heading.split().index("DEAD")] == str(POISON)


def test_a_dry_run_plans_and_sends_nothing(paid: Story) -> None:
    status = reached(paid, order(paid, "look"), "Succeeded")
    assert status["plan"]["matched"] == POISON
    assert status["plan"]["causes"] == [{"stage": "validate", "error": "missing_field", "matched": POISON}]
    assert paid.documents() == 0


def test_a_correction_that_leaves_events_invalid_is_refused_with_the_reason(paid: Story) -> None:
    useless = {"inline": '{"transaction": {"currency": null}}'}
    status = reached(paid, order(paid, "useless", mode="Replay", correction=useless), "Refused")
    message = next(c["message"] for c in status["conditions"] if c["type"] == "Succeeded")
    assert f"{POISON} would stay invalid" in message
    assert "missing required field `currency`" in message


def test_the_sample_of_a_replay_waits_for_its_approval_and_brings_the_documents(paid: Story, tmp_path: Path) -> None:
    paid.kustomize(tmp_path, "k8s/samples/replay")
    assert reached(paid, SAMPLE, "AwaitingApproval")["plan"]["matched"] == POISON
    assert paid.documents() == 0
    paid.cluster.change(SAMPLE, approved=True)
    status = reached(paid, SAMPLE, "Succeeded")
    assert (status["progress"]["sent"], status["report"]["indexed"]) == (POISON, POISON)
    eventually(lambda: paid.documents() == POISON, f"{POISON} documents", timeout=60)


def test_one_trace_reports_its_event_from_the_first_failure_to_the_index(paid: Story) -> None:
    process, send, kept = f"process {paid.name}", f"send {paid.name}", f"send {paid.name}.dlq"
    with jaeger(paid.cluster) as address:
        found = eventually(
            lambda: reported(address, TRACE, {process: 2, kept: 1, send: 1}), f"trace {TRACE}", timeout=60
        )
        replay = next(trace for span in found if span.name == send for trace in span.links - {TRACE})
        both = {"activity-indexer", "activity-indexer-operator"}
        eventually(lambda: {span.service for span in spans(address, replay)} == both, f"trace {replay}", timeout=60)


def reported(address: str, trace: str, wanted: dict[str, int]) -> list[Span] | None:
    """The spans of a trace, once there are this many of each name."""
    found = spans(address, trace)
    names = [span.name for span in found]
    return found if all(names.count(name) >= count for name, count in wanted.items()) else None


def test_what_would_change_a_replay_that_has_begun_is_refused(paid: Story) -> None:
    for field, value in (("selection", {"stages": ["index"]}), ("indexerRef", {"name": "other"}), ("approved", False)):
        change = json.dumps({"spec": {field: value}})
        refused = paid.cluster.kubectl("patch", SAMPLE, "--type=merge", "-p", change, check=False)
        assert refused.returncode, field
        assert "create another DeadLetterReplay" in refused.stderr or "set suspend" in refused.stderr


def test_a_request_in_the_spec_of_the_indexer_makes_a_replay(paid: Story) -> None:
    paid.publish(*poison(POISON, LATER))
    eventually(lambda: paid.depth(RESOURCE) == LATER, "the further dead letters", timeout=120)
    request = {"id": "all", "mode": "Replay", "correction": CORRECTION}
    paid.cluster.change(RESOURCE, deadLetter={"replayRequest": request})
    replay = "deadletterreplay/transactions-all"
    eventually(lambda: paid.cluster.get(replay), "the replay", timeout=60)
    assert reached(paid, replay, "Succeeded")["progress"]["sent"] == LATER, "what has its document is not sent again"
    eventually(lambda: paid.documents() == POISON + LATER, "their documents", timeout=60)
    eventually(lambda: paid.condition(RESOURCE, "DeadLetterEmpty") == "NothingWaiting", "nothing waits", timeout=120)


def test_an_operator_that_is_killed_between_a_job_and_its_status_goes_on(paid: Story) -> None:
    paid.publish(*poison(POISON + LATER, TORN))
    eventually(lambda: paid.depth(RESOURCE) == TORN, "dead letters", timeout=120)
    whole = paid.cluster.get(ROLE)["rules"]
    paid.cluster.kubectl("patch", ROLE, "--type=merge", "-p", json.dumps({"rules": without_status(whole)}))
    try:
        replay = order(paid, "torn", mode="Replay", correction=CORRECTION)
        job = eventually(lambda: paid.cluster.get("job/torn-plan"), "the Job", timeout=60)
        assert "status" not in paid.cluster.get(replay)
        paid.cluster.kubectl("delete", "pod", "-l", OPERATORS, "--grace-period=0", "--force")
    finally:
        paid.cluster.kubectl("patch", ROLE, "--type=merge", "-p", json.dumps({"rules": whole}))
    paid.cluster.rolled_out(OPERATOR)
    status = reached(paid, replay, "Succeeded")
    assert (status["plan"]["stale"], status["progress"]["sent"]) == (POISON + LATER, TORN)
    assert paid.cluster.get("job/torn-plan")["metadata"]["uid"] == job["metadata"]["uid"]
    eventually(lambda: paid.documents() == POISON + LATER + TORN, "their documents", timeout=60)


def without_status(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules, but for the status of replays."""
    return [rule | {"resources": [each for each in rule["resources"] if each != STATUS_RIGHT]} for rule in rules]


def test_a_replay_that_is_suspended_goes_on_where_it_was(paid: Story) -> None:
    paid.publish(*poison(POISON + LATER + TORN, SLOW))
    eventually(lambda: paid.depth(RESOURCE) == SLOW, "dead letters", timeout=120)
    replay = order(paid, "slow", mode="Replay", correction=CORRECTION, rate=1)
    eventually(lambda: sent(paid, replay) > 0, "the first of them are sent", timeout=120)
    paid.cluster.change(replay, suspend=True)
    reached(paid, replay, "Suspended")
    eventually(lambda: "job.batch/slow-replay" not in history(paid, "slow"), "its Job is gone", timeout=60)
    assert 0 < sent(paid, replay) < SLOW
    paid.cluster.change(replay, suspend=False, rate=100)
    assert reached(paid, replay, "Succeeded")["progress"]["sent"] == SLOW
    eventually(lambda: paid.documents() == DOCUMENTS, "their documents", timeout=60)


def sent(story: Story, replay: str) -> int:
    """Events that a replay has sent so far."""
    return int(story.cluster.get(replay).get("status", {}).get("progress", {}).get("sent", 0))


def test_replays_and_purges_are_made_by_time(paid: Story) -> None:
    paid.cluster.change(RESOURCE, deadLetter={"schedule": {"cron": EVERY_MINUTE}})
    scheduled = ("status", "deadLetter", "schedule", "lastReplay")
    name = eventually(lambda: found(paid.cluster.get(RESOURCE), *scheduled), "a replay by time", timeout=100)
    assert reached(paid, f"deadletterreplay/{name}", "Succeeded")["plan"]["matched"] >= 0
    purged = ("status", "tombstones", "lastPurgeTime")
    eventually(lambda: found(paid.cluster.get(RESOURCE), *purged), "a purge by time", timeout=100)
    paid.cluster.change(RESOURCE, deadLetter={"schedule": None}, tombstones=None)
    assert paid.documents() == DOCUMENTS


def found(body: dict[str, Any], *path: str) -> str:
    """What is there in an object, by its path; "" for nothing."""
    value: Any = body
    for part in path:
        value = value.get(part, {})
    return str(value or "")


def test_audit_and_index_agree_at_last(paid: Story) -> None:
    assert paid.differences() == {}


def test_the_history_stays_until_its_time_is_over(paid: Story) -> None:
    paid.cluster.change("deadletterreplay/look", ttlSecondsAfterFinished=1)
    eventually(lambda: not history(paid, "look"), "the replay goes, with its Job", timeout=90)
    kept = {"useless", "transactions-refused", "transactions-all", "torn", "slow"}
    assert {f"deadletterreplay.activityindexer.io/{name}" for name in kept} <= set(history(paid, "deadletterreplay"))


def test_what_users_see_of_it(paid: Story, shown: Show) -> None:
    see = paid.cluster.kubectl
    shown.keep("replay-get.txt", see("get", "aidx,dlr", "-o", "wide").stdout)
    shown.keep("replay-describe.txt", see("describe", SAMPLE).stdout)
    shown.keep("replay-indexer-describe.txt", see("describe", RESOURCE).stdout)
    events = see("get", "events", "--sort-by=.lastTimestamp").stdout.splitlines()
    ours = [line for line in events[1:] if "activityindexer/" in line or "deadletterreplay/" in line]
    shown.keep("replay-events.txt", "\n".join([events[0], *ours]))
    assert "AwaitingApproval" in "\n".join(ours)


def test_a_stateful_set_takes_the_place_of_what_the_operator_made(paid: Story) -> None:
    bodies = stateful(paid)
    paid.cluster.change(RESOURCE, workload={"template": None, "targetRef": {"kind": "StatefulSet", "name": STATEFUL}})
    eventually(lambda: paid.condition(RESOURCE) == "TargetNotFound", "that it is missing is reported", timeout=60)
    assert paid.cluster.ready_pods("app.kubernetes.io/instance=transactions"), "those that run go on until it is"
    paid.cluster.apply(*bodies)
    eventually(lambda: paid.replicas(f"statefulset/{STATEFUL}") == PARTITIONS, "a replica per partition", timeout=60)
    eventually(lambda: made(paid) == [], "what was made for the template goes", timeout=120)
    paid.cluster.rolled_out(f"statefulset/{STATEFUL}")
    eventually(lambda: paid.condition(RESOURCE) == "ReplicasAvailable", "the resource is ready", timeout=60)
    assert paid.documents() == DOCUMENTS


def stateful(story: Story) -> list[dict[str, Any]]:
    """The indexer that runs, as a StatefulSet of one pod with a ConfigMap of its own."""
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": STATEFUL}}
    template = story.cluster.get(WORKLOAD)["spec"]["template"]
    labels = template["metadata"]["labels"] | {"app.kubernetes.io/instance": STATEFUL}
    pod = template["spec"] | {"serviceAccountName": "default", "serviceAccount": "default"}
    pod["containers"][0]["envFrom"] = [{"configMapRef": {"name": STATEFUL}}]
    spec = {
        "replicas": 1,
        "serviceName": STATEFUL,
        "selector": {"matchLabels": {"app.kubernetes.io/instance": STATEFUL}},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    workload = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": STATEFUL}, "spec": spec}
    return [settings | {"data": story.cluster.get("configmap/transactions")["data"]}, workload]


def made(story: Story) -> list[str]:
    """What the operator makes of a template, as far as it is there."""
    listed = ("deployments,configmaps,services,serviceaccounts,poddisruptionbudgets", "-o", "name")
    mine = ("-l", "app.kubernetes.io/instance=transactions")
    return story.cluster.kubectl("get", *listed, *mine).stdout.split()


def test_an_operator_that_ends_gives_its_lease_up(paid: Story) -> None:
    paid.cluster.kubectl("scale", OPERATOR, "--replicas=0")
    eventually(lambda: not paid.cluster.get("leases")["items"], "the Lease is gone", timeout=60)


def test_it_uses_exactly_the_rights_that_it_was_given(paid: Story, shown: Show) -> None:
    user = f"system:serviceaccount:{paid.cluster.namespace}:activity-indexer-operator"
    log = paid.cluster.audit_log()
    given, used = granted(paid.cluster.get(ROLE)["rules"]), with_creations(asked(log, user))
    shown.keep("rights.txt", f"granted {len(given)}, used {len(used)}, by the audit log of the API server\n")
    assert used == given
    refused = [request for request in forbidden(log, user) if "deadletterreplays" not in request]
    assert refused == [], "but for the status of replays, which was forbidden for a while"


def test_no_log_reports_an_error_that_is_not_expected(paid: Story) -> None:
    assert [f"{line.pod}: {line.text}" for line in paid.logs.unexpected()] == []
    assert paid.logs.lines("operator")
