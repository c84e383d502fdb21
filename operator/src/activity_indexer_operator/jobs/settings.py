"""What a user may set of a Job, and the labels that it is found by."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Final

import msgspec

from activity_indexer_operator.kube.objects import KeyRef, Natural, Positive, View
from activity_indexer_operator.kube.schema import Labels, Rule, described

LABEL_INDEXER: Final = "activityindexer.io/indexer"
"""On replays and Jobs: the ActivityIndexer that they belong to."""


class Correction(View, frozen=True):
    """What is changed in each event on the way: a merge patch or a JSON Patch, here or in a ConfigMap."""

    RULES: ClassVar = (
        Rule("has(self.inline) != has(self.configMapRef)", "set exactly one of inline and configMapRef"),
    )

    inline: Annotated[
        str | None, described("The patch, as JSON text.", minLength=2, maxLength=65536, pattern=r"^\s*[\[{]")
    ] = None
    config_map_ref: Annotated[
        KeyRef | None, described("An entry of a ConfigMap of the same namespace that holds the patch.")
    ] = None
    skip_invalid: Annotated[
        bool,
        described(
            "Leave events that it leaves invalid where they are, and send the others. Without it, one such event keeps "
            "all from being sent."
        ),
    ] = False

    def __post_init__(self) -> None:
        """Refuse what is no patch; the command would refuse it later."""
        if (self.inline is None) == (self.config_map_ref is None):
            raise ValueError("set exactly one of inline and configMapRef")
        if self.inline is not None and not isinstance(_json(self.inline), dict | list):
            raise ValueError("inline must be a JSON object (a merge patch) or a JSON array (a JSON Patch)")


class JobSettings(View, frozen=True):
    """How the Jobs run. Their pods are made of the indexer's own, with its image, environment and volumes."""

    backoff_limit: Annotated[
        Natural,
        described("How many times the replay goes on after a failure, before it counts as failed.", maximum=100),
    ] = 3
    active_deadline_seconds: Annotated[
        Positive | None,
        described(
            "A Job that runs longer is ended, and the replay counts as failed.",
            format="int64",
            minimum=10,
            maximum=2592000,
        ),
    ] = None
    resources: Annotated[dict[str, Any] | None, described("Of the Jobs' container, in place of the indexer's.")] = None
    labels: Annotated[
        Labels,
        described("Further labels of the Jobs' pods.", maxProperties=32, additionalProperties={"maxLength": 63}),
    ] = msgspec.field(default_factory=dict)
    annotations: Annotated[Labels, described("Annotations of the Jobs' pods.", maxProperties=32)] = msgspec.field(
        default_factory=dict
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"inline is no JSON: {error}") from error
