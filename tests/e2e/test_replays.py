"""Events that could not be indexed, from the first sign of them to their documents, by DeadLetterReplays.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from e2e.commands import eventually
from e2e.rights import Right
from e2e.sample import OPERATOR, OPERATORS, RESOURCE, begin_sample, rights_granted, rights_used
from e2e.show import Show
from e2e.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

POISON, LATER, TORN = 20, 5, 4
CORRECTION = {"inline": '{"transaction": {"currency": "USD"}}'}
SAMPLE = "deadletterreplay/transactions-refused"
ROLE = "role/activity-indexer-operator"
STATUS_RIGHT = "deadletterreplays/status"


@pytest.fixture(scope="module")
def paid(begin: Callable[[str], Story], tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A namespace with an operator and an indexer."""
    return begin_sample(begin, "paid", tmp_path_factory.mktemp("paid"))


@pytest.fixture(scope="module")
def rights() -> set[Right]:
    """Rights that the operators of this story have used."""
    return set()


def poison(first: int, count: int) -> list[dict[str, Any]]:
    """Events that lack their currency."""
    now = datetime.now(UTC).isoformat()
    return [
        {
            "event_type": "transaction.created",
            "timestamp": now,
            "transaction": {
                "id": f"poison-{number}",
                "user_id": f"payer-{number % 3}",
                "transaction_type": "card",
                "product": "debit_card",
                "status": "completed",
                "amount": 12.5,
                "created_at": now,
            },
        }
        for number in range(first, first + count)
    ]


def order(story: Story, name: str, **spec: Any) -> str:
    """Creates a DeadLetterReplay; its name as kubectl takes it."""
    body = {"apiVersion": "activityindexer.io/v1alpha1", "kind": "DeadLetterReplay", "metadata": {"name": name}}
    story.cluster.apply(body | {"spec": {"indexerRef": {"name": "transactions"}, **spec}})
    return f"deadletterreplay/{name}"


def reached(story: Story, replay: str, phase: str, timeout: float = 240) -> Mapping[str, Any]:
    """The status of a replay, once it is in a phase."""

    def look() -> Mapping[str, Any] | None:
        found: Mapping[str, Any] = story.cluster.get(replay).get("status", {})
        return found if found.get("phase") == phase else None

    return eventually(look, f"{replay} is {phase}", timeout=timeout)


def test_the_minimal_sample_is_a_running_indexer(paid: Story) -> None:
    eventually(lambda: paid.condition(RESOURCE) == "ReplicasAvailable", "the resource is ready", timeout=300)
    assert paid.condition(RESOURCE, "DeadLetterEmpty") in {"NothingWaiting", "NotObserved"}


def test_poison_shows_in_a_condition_and_a_column(paid: Story) -> None:
    paid.publish(*poison(0, POISON))
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


def test_an_operator_that_is_killed_between_a_job_and_its_status_goes_on(paid: Story, rights: set[Right]) -> None:
    rights |= rights_used(paid)
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


def test_audit_and_index_agree_at_last(paid: Story) -> None:
    assert paid.differences() == {}


def test_the_history_stays_until_its_time_is_over(paid: Story) -> None:
    paid.cluster.change("deadletterreplay/look", ttlSecondsAfterFinished=1)
    eventually(lambda: not history(paid, "look"), "the replay goes, with its Job", timeout=90)
    expected = ("useless", "transactions-refused", "transactions-all", "torn")
    assert len(history(paid, "deadletterreplay")) == len(expected)


def history(story: Story, part: str) -> list[str]:
    """Replays and Jobs whose name has a part."""
    return [name for name in story.cluster.kubectl("get", "dlr,jobs", "-o", "name").stdout.split() if part in name]


def test_what_people_see_of_it(paid: Story, shown: Show) -> None:
    see = paid.cluster.kubectl
    shown.keep("replay-get.txt", see("get", "aidx,dlr", "-o", "wide").stdout)
    shown.keep("replay-describe.txt", see("describe", SAMPLE).stdout)
    shown.keep("replay-indexer-describe.txt", see("describe", RESOURCE).stdout)
    events = see("get", "events", "--sort-by=.lastTimestamp").stdout.splitlines()
    ours = [line for line in events[1:] if "activityindexer/" in line or "deadletterreplay/" in line]
    shown.keep("replay-events.txt", "\n".join([events[0], *ours]))
    assert "AwaitingApproval" in "\n".join(ours)


def test_it_uses_no_right_that_it_was_not_given(paid: Story, rights: set[Right], shown: Show) -> None:
    asked, given = rights | rights_used(paid), rights_granted(paid)
    unused = sorted(given - asked)
    shown.keep("rights.txt", f"granted {len(given)}, used here {len(given & asked)}, not used here: {unused}\n")
    assert asked <= given


def test_no_log_tells_of_an_error_that_nobody_expects(paid: Story) -> None:
    assert [f"{line.pod}: {line.text}" for line in paid.logs.unexpected()] == []
    assert paid.logs.lines("operator")
