"""Events that cannot be indexed, and DeadLetterReplays for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from e2e.commands import eventually
from e2e.story import Story

CORRECTION = {"inline": '{"transaction": {"currency": "USD"}}'}


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


def history(story: Story, part: str) -> list[str]:
    """Replays and Jobs whose name has a part."""
    return [name for name in story.cluster.kubectl("get", "dlr,jobs", "-o", "name").stdout.split() if part in name]
