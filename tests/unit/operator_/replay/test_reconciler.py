"""The life of a DeadLetterReplay, shown by what an API server sees of it."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fixtures.memory.cluster import NAMESPACE, Killed
from fixtures.operator import START, ReplayWorld, result

from activity_indexer_operator.jobs.view import PodReason
from activity_indexer_operator.kube.resources import DEPLOYMENTS, INDEXERS, JOBS, PODS, REPLAYS
from activity_indexer_operator.replay.model import Reason, parse_replay
from activity_indexer_operator.runtime.queue import NEVER

BASE = Path(__file__).parents[4]
PLANNED = result(dryRun=True, matched=15, stale=3, parked=1, upTo="0:17,1:4",
                 causes=[{"stage": "index", "error": "document_parsing_exception", "matched": 15}])  # fmt: skip
REPORT = {"indexed": 10, "stale": 0, "deadLettered": 1, "unknown": 0, "errors": {"document_parsing_exception": 1}}
REPLAYED = result(matched=15, sent=11, stale=3, parked=1, upTo="0:17,1:4", report=REPORT)
GROUP = "orders-indexer.replay.fix-00000003"


async def planned(**spec: Any) -> ReplayWorld:
    world = ReplayWorld()
    world.replay(**spec)
    await world.reconcile()
    world.end("fix-plan", message=PLANNED)
    await world.reconcile()
    return world


async def running(**spec: Any) -> ReplayWorld:
    world = await planned(mode="Replay", **spec)
    world.pod("fix-replay")
    await world.reconcile()
    return world


async def test_a_replay_begins_with_a_dry_run() -> None:
    world = ReplayWorld()
    world.replay(mode="Replay", rate=50, selection={"errors": ["document_parsing_exception"], "max": 100})
    await world.reconcile()

    assert world.phase() == "Planning"
    assert world.jobs() == ["fix-plan"]
    assert world.command("fix-plan") == [
        *("activity-indexer", "dead-letters", "replay", "--id", "fix-00000003", "--json"),
        *("--result-file", "/dev/termination-log", "--dry-run", "--error=document_parsing_exception", "--max=100"),
    ]
    assert world.status(REPLAYS, "fix")["startTime"] == "2026-11-23T12:00:00Z"


async def test_a_dry_run_ends_with_its_plan() -> None:
    world = await planned()

    assert (world.phase(), world.reason()) == ("Succeeded", "Completed")
    assert world.jobs() == ["fix-plan"]
    plan = world.status(REPLAYS, "fix")["plan"]
    assert plan == {
        "matched": 15, "stale": 3, "parked": 1, "refused": 0, "upTo": "0:17,1:4",
        "causes": [{"stage": "index", "error": "document_parsing_exception", "matched": 15}],
    }  # fmt: skip


async def test_the_replay_ends_where_the_plan_ended() -> None:
    world = await planned(mode="Replay", rate=50)

    assert world.phase() == "Running"
    assert world.command("fix-replay")[-4:] == ["--rate", "50", "--up-to", "0:17,1:4"]
    assert "--dry-run" not in world.command("fix-replay")


async def test_a_manual_replay_waits_with_its_plan_until_it_is_approved() -> None:
    world = await planned(mode="Replay", approval="Manual")
    assert (world.phase(), world.jobs()) == ("AwaitingApproval", ["fix-plan"])
    assert "kubectl -n shop patch dlr fix" in world.events[-1][2]

    world.edit(REPLAYS, "fix", approved=True)
    await world.reconcile()
    assert (world.phase(), world.jobs()) == ("Running", ["fix-plan", "fix-replay"])


async def test_progress_is_read_from_the_commits_of_the_replays_group() -> None:
    world = await running()
    counters = {"v": 1, "end": 17, "read": 5, "sent": 3, "skipped": 1, "parked": 0, "stale": 1, "refused": 0}
    world.kafka.commits[GROUP] = {0: counters, 1: counters | {"sent": 0}}
    assert await world.reconcile() == 10

    progress = world.status(REPLAYS, "fix")["progress"]
    assert progress == {"read": 10, "sent": 3, "skipped": 2, "stale": 2, "parked": 0, "refused": 0}


async def test_a_silent_kafka_leaves_the_progress_as_it_was() -> None:
    world = await running()
    world.kafka.commits[GROUP] = {0: {"v": 1, "read": 5, "sent": 3}}
    await world.reconcile()
    world.kafka.commits.clear()
    await world.reconcile()

    assert world.status(REPLAYS, "fix")["progress"]["sent"] == 3


async def test_what_came_of_it_stands_in_the_status() -> None:
    world = await running()
    world.pass_time(minutes=2)
    world.end("fix-replay", message=REPLAYED)
    await world.reconcile()

    status = world.status(REPLAYS, "fix")
    assert (world.phase(), world.reason()) == ("Succeeded", "Completed")
    assert status["progress"] == {"read": 15, "sent": 11, "skipped": 0, "stale": 3, "parked": 1, "refused": 0}
    assert status["report"] == REPORT
    assert (status["startTime"], status["completionTime"]) == ("2026-11-23T12:00:00Z", "2026-11-23T12:02:00Z")


@pytest.mark.parametrize(
    ("code", "words", "phase", "reason"),
    [
        (3, result("nothing", message="no dead letter matches"), "Nothing", "NothingToReplay"),
        (4, result("refused", message="another replay is running"), "Refused", "Refused"),
        (2, "Error: No such option: --stag", "Failed", "WrongSettings"),
    ],
)
async def test_an_exit_code_that_no_second_try_changes_is_the_end(
    code: int, words: str, phase: str, reason: str
) -> None:
    world = await running()
    world.end("fix-replay", code, words)
    await world.reconcile()

    assert (world.phase(), world.reason()) == (phase, reason)
    reported = next(c["message"] for c in world.status(REPLAYS, "fix")["conditions"] if c["type"] == "Succeeded")
    assert reported.split()[-1] in words


async def test_a_job_that_failed_again_and_again_reports_its_last_message() -> None:
    world = await running()
    world.end("fix-replay", 1, "Kafka at kafka:9092 does not answer", reason="BackoffLimitExceeded")
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Failed", "RetriesExhausted")
    assert world.events[-1] == (
        "Warning",
        "Failed",
        "the pod of Job fix-replay ended with code 1 (Error): Kafka at kafka:9092 does not answer",
    )


async def test_a_plan_that_finds_nothing_is_the_end() -> None:
    world = ReplayWorld()
    world.replay(mode="Replay")
    await world.reconcile()
    world.end("fix-plan", message=result(dryRun=True, matched=0, upTo="0:17"))
    await world.reconcile()

    assert (world.phase(), world.jobs()) == ("Nothing", ["fix-plan"])


async def test_suspended_the_job_is_stopped_and_taken_up_again_under_the_same_id() -> None:
    world = await running()
    before = world.command("fix-replay")
    world.edit(REPLAYS, "fix", suspend=True)
    await world.reconcile()
    assert (world.phase(), world.reason(), world.jobs()) == ("Suspended", "Stopping", ["fix-plan"])

    world.edit(REPLAYS, "fix", suspend=False)
    assert await world.reconcile() == 2, "no event reports the end of a pod whose Job is gone"
    assert (world.phase(), world.jobs()) == ("Pending", ["fix-plan"]), "a second pod would run beside the first"

    world.cluster.remove(PODS, "fix-replay-pod")
    await world.reconcile()
    assert world.phase() == "Running"
    assert world.command("fix-replay") == before


async def test_suspended_before_it_began_nothing_begins() -> None:
    world = ReplayWorld()
    world.replay(suspend=True)
    await world.reconcile()

    assert (world.phase(), world.reason(), world.jobs()) == ("Suspended", "Suspended", [])


async def test_a_result_counts_even_when_the_replay_was_suspended_meanwhile() -> None:
    world = await running()
    world.end("fix-replay", message=REPLAYED)
    world.edit(REPLAYS, "fix", suspend=True)
    await world.reconcile()

    assert world.phase() == "Succeeded"


async def test_a_changed_rate_restarts_the_job() -> None:
    world = await running()
    world.edit(REPLAYS, "fix", rate=7)
    await world.reconcile()
    assert (world.phase(), world.jobs()) == ("Pending", ["fix-plan"])
    world.cluster.remove(PODS, "fix-replay-pod")
    await world.reconcile()

    assert world.phase() == "Running"
    assert "7" in world.command("fix-replay")


async def test_of_two_replays_one_runs_and_the_other_waits_its_turn() -> None:
    world = ReplayWorld()
    world.replay("first")
    world.replay("second")
    await world.reconcile("first")
    await world.reconcile("second")
    assert (world.phase("second"), world.reason("second")) == ("Pending", "AnotherReplayRunning")
    assert world.jobs() == ["first-plan"]

    world.end("first-plan", message=PLANNED)
    await world.reconcile("first")
    await world.reconcile("second")
    assert world.jobs() == ["first-plan", "second-plan"]


async def test_who_waited_longer_comes_first() -> None:
    world = ReplayWorld()
    for name in ("a-running", "b-old", "a-young"):
        world.replay(name)
        world.pass_time(minutes=1)
        await world.reconcile(name)
    world.end("a-running-plan", message=PLANNED)
    await world.reconcile("a-running")
    await world.reconcile("a-young")
    assert (world.phase("a-young"), world.reason("a-young")) == ("Pending", "AnotherReplayRunning")
    await world.reconcile("b-old")

    assert world.jobs() == ["a-running-plan", "b-old-plan"]


async def test_a_pod_that_outlives_its_deleted_replay_keeps_others_waiting() -> None:
    world = await running()
    world.cluster.objects.pop((REPLAYS.plural, NAMESPACE, "fix"))
    world.cluster.objects.pop((JOBS.plural, NAMESPACE, "fix-replay"))
    world.replay("next")
    await world.reconcile("next")

    assert (world.phase("next"), world.reason("next")) == ("Pending", "AnotherReplayRunning")


async def test_replays_of_different_indexers_do_not_wait_for_each_other() -> None:
    world = ReplayWorld()
    world.indexer("payments")
    world.replay("first")
    world.replay("second", indexerRef={"name": "payments"})
    await world.reconcile("first")
    await world.reconcile("second")

    assert world.jobs() == ["first-plan", "second-plan"]


@pytest.mark.parametrize(
    ("mode", "spec", "reason"),
    [
        ("Suspended", {}, "IndexerSuspended"),
        ("Suspended", {"mode": "Replay"}, "IndexerSuspended"),
    ],
)
async def test_a_suspended_indexer_keeps_its_replays_waiting(mode: str, spec: dict[str, Any], reason: str) -> None:
    world = ReplayWorld()
    world.edit(INDEXERS, "orders", mode=mode)
    world.replay(**spec)
    await world.reconcile()

    assert (world.phase(), world.reason(), world.jobs()) == ("Pending", reason, [])


async def test_an_indexer_in_dry_run_lets_plans_be_made_and_nothing_sent() -> None:
    world = ReplayWorld()
    world.edit(INDEXERS, "orders", mode="DryRun")
    world.replay(mode="Replay")
    await world.reconcile()
    world.end("fix-plan", message=PLANNED)
    await world.reconcile()

    assert (world.phase(), world.reason(), world.jobs()) == ("Pending", "IndexerInDryRun", ["fix-plan"])


async def test_without_its_indexer_a_replay_waits_and_says_so() -> None:
    world = ReplayWorld()
    world.replay(indexerRef={"name": "missing"})
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Pending", "IndexerNotFound")
    assert world.events == [("Normal", "Pending", "there is no ActivityIndexer missing in this namespace")]


async def test_without_the_indexers_workload_a_replay_waits() -> None:
    world = ReplayWorld()
    world.cluster.remove(DEPLOYMENTS, "orders")
    world.replay()
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Pending", "WorkloadNotFound")
    assert "startTime" not in world.status(REPLAYS, "fix"), "what has not started may still be changed"


async def test_a_job_that_the_api_server_refuses_is_reported_and_tried_again() -> None:
    world = ReplayWorld()
    world.cluster.refused["create Job"] = "exceeded quota"
    world.replay()
    await world.reconcile()
    assert (world.phase(), world.reason()) == ("Pending", "JobRefused")

    world.cluster.refused.clear()
    await world.reconcile()
    assert world.phase() == "Planning"


async def test_another_owners_job_of_the_same_name_is_not_touched() -> None:
    world = ReplayWorld()
    world.cluster.put(JOBS, "fix-plan", {})
    world.replay()
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Pending", "JobNameTaken")


async def test_a_replay_created_again_does_not_take_the_job_of_its_predecessor_for_its_own() -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    world.cluster.objects.pop((REPLAYS.plural, NAMESPACE, "fix"))
    world.end("fix-plan", message=PLANNED)
    world.replay()
    await world.reconcile()
    assert (world.phase(), world.reason()) == ("Pending", "JobNameTaken")

    world.cluster.remove(JOBS, "fix-plan")
    await world.reconcile()
    assert world.phase() == "Planning"


async def test_a_spec_that_cannot_work_is_reported() -> None:
    world = ReplayWorld()
    world.replay(correction={"inline": "{not json"})
    await world.reconcile()

    assert (world.phase(), world.reason(), world.jobs()) == ("Pending", "SpecInvalid", [])


async def test_a_pod_that_cannot_start_is_reported_once_in_an_event() -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    world.pod("fix-plan", status={"phase": "Pending", "containerStatuses": [{"name": "indexer", "state": waiting}]})
    await world.reconcile()
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Planning", "ImageNotPulled")
    reported = ("Warning", "ImageNotPulled", "no pod of the Job runs: ImagePullBackOff: no such image")
    assert world.events.count(reported) == 1


async def test_within_a_minute_it_is_reported_that_a_quota_lets_no_pod_be_made() -> None:
    world = ReplayWorld()
    world.replay()
    for _ in range(5):
        seconds = await world.reconcile()
        assert seconds
        world.pass_time(seconds=seconds)

    assert (world.phase(), world.reason()) == ("Planning", "PodNotCreated")
    assert world.clock.utc() - START < timedelta(minutes=1)
    world.pod("fix-plan")
    await world.reconcile()
    assert world.reason() == "PlanRunning"


async def test_a_job_that_never_ran_until_its_deadline_is_reported_with_the_cause() -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    world.pod("fix-plan", status={"phase": "Pending", "containerStatuses": [{"state": waiting}]})
    await world.reconcile()
    world.cluster.remove(PODS, "fix-plan-pod")
    world.end_job("fix-plan", "DeadlineExceeded")
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Failed", "DeadlineExceeded")
    assert world.events[-1][2].endswith("; before, no pod of the Job runs: ErrImagePull: no such image")


async def test_a_replay_that_waits_for_another_is_shown_what_holds_that_one_up() -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    world.pass_time(minutes=1)
    world.replay("second")
    await world.reconcile("second")

    assert world.reason("second") == "AnotherReplayRunning"
    assert "describe job fix-plan" in world.events[-1][2]


def test_every_reason_is_in_the_docs_and_no_other() -> None:
    table = (BASE / "docs/dead-letter-replays.md").read_text().partition("## What may change")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `Succeeded`: ")]
    reported = {word for row in rows for word in re.findall(r"`(\w+)`", row.partition(" | ")[2])}
    assert reported == {str(reason) for reason in (*Reason, *PodReason)}


async def test_a_plan_whose_result_is_lost_is_made_again() -> None:
    world = ReplayWorld()
    world.replay()
    await world.reconcile()
    world.end_job("fix-plan", failed=None)
    await world.reconcile()
    await world.reconcile()

    assert (world.phase(), world.created) == ("Planning", ["fix-plan", "fix-plan"])


async def test_a_replay_whose_result_is_lost_has_succeeded_all_the_same() -> None:
    world = await running()
    world.kafka.commits[GROUP] = {0: {"v": 1, "read": 15, "sent": 11}}
    world.cluster.remove(PODS, "fix-replay-pod")
    world.end_job("fix-replay", failed=None)
    await world.reconcile()

    assert world.phase() == "Succeeded"
    assert world.status(REPLAYS, "fix")["progress"]["sent"] == 11


async def test_a_job_that_a_user_deleted_is_made_again_and_finds_all_done() -> None:
    world = await running()
    world.kafka.commits[GROUP] = {0: {"v": 1, "read": 15, "sent": 11}}
    await world.reconcile()
    world.cluster.remove(JOBS, "fix-replay")
    await world.reconcile()
    world.end("fix-replay", 3, result("nothing", message="nothing is left"))
    await world.reconcile()

    assert (world.phase(), world.reason()) == ("Succeeded", "Completed")


async def test_a_finished_replay_is_deleted_after_its_time_to_live() -> None:
    world = await planned(ttlSecondsAfterFinished=600)
    assert await world.reconcile() == 600
    world.pass_time(seconds=599)
    await world.reconcile()
    assert world.replays() == ["fix"]

    world.pass_time(seconds=1)
    assert await world.reconcile() == NEVER
    assert (world.replays(), world.jobs()) == ([], [])


async def test_an_open_replay_has_no_time_to_live() -> None:
    world = await planned(mode="Replay", approval="Manual", ttlSecondsAfterFinished=0)
    world.pass_time(days=30)
    await world.reconcile()

    assert world.phase() == "AwaitingApproval"


async def test_a_pass_that_finds_no_change_writes_nothing() -> None:
    world = await running()
    events, calls = len(world.events), len(world.cluster.requests)
    await world.reconcile()
    looks = len(world.cluster.requests) - calls
    await world.reconcile()

    assert len(world.events) == events
    assert len(world.cluster.requests) == calls + 2 * looks


async def test_a_transition_is_one_event() -> None:
    world = await running()
    await world.reconcile()
    world.end("fix-replay", message=REPLAYED)
    await world.reconcile()
    await world.reconcile()

    assert [(kind, reason) for kind, reason, _ in world.events] == [
        ("Normal", "Planning"),
        ("Normal", "Running"),
        ("Normal", "Succeeded"),
    ]


async def live(world: ReplayWorld) -> None:
    """A whole life, each step of which may be cut short and is then taken again."""

    async def step() -> None:
        try:
            await world.reconcile()
        except Killed:
            await world.reconcile()

    world.replay(mode="Replay", approval="Manual")
    await step()
    world.end("fix-plan", message=PLANNED)
    await step()
    world.edit(REPLAYS, "fix", approved=True)
    await step()
    world.pod("fix-replay")
    world.edit(REPLAYS, "fix", suspend=True)
    await step()
    world.cluster.remove(PODS, "fix-replay-pod")
    await step()
    world.edit(REPLAYS, "fix", suspend=False)
    await step()
    world.end("fix-replay", message=REPLAYED)
    await step()


async def test_an_operator_that_is_killed_at_any_moment_changes_nothing_of_a_replays_life() -> None:
    whole = ReplayWorld()
    await live(whole)
    assert whole.created == ["fix-plan", "fix-replay", "fix-replay"]

    for moment in range(1, len(whole.cluster.requests) + 1):
        world = ReplayWorld(kill_at=moment)
        await live(world)
        assert world.created == whole.created, f"killed after call {moment}"
        assert world.status(REPLAYS, "fix") == whole.status(REPLAYS, "fix")


@pytest.mark.parametrize(
    ("spec", "counters", "finished", "expected"),
    [
        ({}, None, False, True),
        ({"mode": "DryRun"}, None, True, False),
        ({"selection": {"stages": ["index"]}}, {"read": 3, "sent": 3}, True, True),
        ({"selection": {"stages": ["index"]}}, {"read": 3, "sent": 3}, False, False),
        ({"selection": {"stages": ["index"]}}, {"read": 3, "sent": 2, "skipped": 1}, True, False),
        ({"selection": {"stages": ["index"]}}, {"read": 3, "sent": 2, "refused": 1}, True, False),
        ({"selection": {"stages": ["index"]}}, None, True, False),
        ({"selection": {"partitions": [0]}}, {"read": 3, "sent": 3}, True, False),
    ],
)
def test_a_replay_that_passed_over_nothing_leaves_no_dead_letter_behind(
    spec: dict[str, Any], counters: dict[str, int] | None, finished: bool, expected: bool
) -> None:
    body = ReplayWorld().replay(**{"mode": "Replay"} | spec)
    body["status"] = {"startTime": "2026-11-23T12:00:00Z"} | ({"progress": counters} if counters else {})
    body["status"] |= {"completionTime": "2026-11-23T12:01:00Z"} if finished else {}
    assert parse_replay(body).leaves_none is expected
