"""The command that a replay's Job runs: values in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from activity_common.trace_context import TraceContext
from activity_indexer_operator.jobs.job import COMPONENT_REPLAY, CORRECTION_FILE, RESULT_FILE, JobRequest
from activity_indexer_operator.replay.model import Replay, ReplaySpec


class Stage(StrEnum):
    """The two Jobs of a replay; the value ends the Job's name."""

    PLAN = "plan"
    REPLAY = "replay"


def job_name(replay: Replay, stage: Stage) -> str:
    """The same for ever: whoever looks for the Job finds it, and a second one cannot be made."""
    return f"{replay.meta.key.name}-{stage}"


def job_request(replay: Replay, spec: ReplaySpec, stage: Stage, trace: TraceContext | None = None) -> JobRequest:
    """The Job of a stage, as part of a trace."""
    return JobRequest(
        name=job_name(replay, stage),
        owner=replay.meta,
        indexer=spec.indexer_ref.name,
        component=COMPONENT_REPLAY,
        arguments=arguments(replay, spec, stage),
        settings=spec.job,
        correction=spec.correction,
        trace=trace,
    )


def arguments(replay: Replay, spec: ReplaySpec, stage: Stage) -> tuple[str, ...]:
    """What follows `activity-indexer`: the same words for the same spec and plan, whenever it is asked."""
    return (
        *("dead-letters", "replay", "--id", replay.id, "--json", "--result-file", RESULT_FILE),
        *(("--dry-run",) if stage is Stage.PLAN else ()),
        *_selection(spec),
        *_options(spec),
        # A dry run has no rate to keep, and the end of what a plan found is the end of the replay.
        *(("--rate", str(spec.rate)) if spec.rate and stage is Stage.REPLAY else ()),
        *(("--up-to", replay.status.plan.up_to) if replay.status.plan and stage is Stage.REPLAY else ()),
    )


def _selection(spec: ReplaySpec) -> Iterator[str]:
    wanted = spec.selection
    repeated = {
        "--stage": wanted.stages,
        "--error": wanted.errors,
        "--event-type": wanted.event_types,
        "--user": wanted.users,
        "--transaction": wanted.transactions,
        "--partition": wanted.partitions,
        "--offsets": wanted.offsets,
    }
    for option, values in repeated.items():
        for value in values:
            # In one word, so that a value that begins with a dash is no option.
            yield f"{option}={value}"
    single = {"--since": wanted.since, "--until": wanted.until, "--max": wanted.max}
    for option, given in single.items():
        if given is not None:
            yield f"{option}={given}"


def _options(spec: ReplaySpec) -> Iterator[str]:
    if spec.correction:
        yield from ("--patch", CORRECTION_FILE)
        if spec.correction.skip_invalid:
            yield "--skip-invalid"
    if spec.max_replays is not None:
        yield from ("--max-replays", str(spec.max_replays))
    if spec.include_parked:
        yield "--include-parked"
    if spec.include_stale:
        yield "--include-stale"
