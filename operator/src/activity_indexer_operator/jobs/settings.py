"""What a user may set of a Job, and the labels that it is found by."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from activity_indexer_operator.kube.objects import KeyRef, Natural, Positive, View

LABEL_INDEXER: Final = "activityindexer.io/indexer"
"""On replays and Jobs: the ActivityIndexer that they belong to."""


class Correction(View, frozen=True):
    """What is changed in the events on the way: a JSON merge patch or a JSON Patch, here or in a ConfigMap.

    With `skip_invalid`, events that it leaves invalid are left where they are; without, they keep all from being sent.
    """

    inline: str | None = None
    config_map_ref: KeyRef | None = None
    skip_invalid: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no patch; the command would refuse it later."""
        if (self.inline is None) == (self.config_map_ref is None):
            raise ValueError("set exactly one of inline and configMapRef")
        if self.inline is not None and not isinstance(_json(self.inline), dict | list):
            raise ValueError("inline must be a JSON object (a merge patch) or a JSON array (a JSON Patch)")


class JobSettings(View, frozen=True):
    """How the Job runs."""

    backoff_limit: Natural = 3
    active_deadline_seconds: Positive | None = None
    resources: dict[str, Any] | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"inline is no JSON: {error}") from error
