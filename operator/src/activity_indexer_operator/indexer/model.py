"""An ActivityIndexer as it was read."""

from __future__ import annotations

from dataclasses import dataclass

from activity_indexer_operator.indexer.spec import Spec, parse_spec
from activity_indexer_operator.indexer.status import Status, parse_status
from activity_indexer_operator.kube.objects import Body, InvalidSpec, Meta, meta_of


@dataclass(frozen=True, slots=True)
class ActivityIndexer:
    """One object; `body` is what the API server gave."""

    meta: Meta
    spec: Spec | InvalidSpec
    status: Status
    body: Body


def parse(body: Body) -> ActivityIndexer:
    """The object behind the API server's JSON."""
    return ActivityIndexer(
        meta=meta_of(body),
        spec=parse_spec(body.get("spec", {})),
        status=parse_status(body.get("status", {})),
        body=body,
    )
