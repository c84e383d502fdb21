"""The commands of a replay's two Jobs, and how these ended: values in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from activity_common.exit_codes import Exit
from activity_common.replay_result import ReplayResult
from activity_common.trace_context import TraceContext
from activity_indexer_operator.jobs.job import COMPONENT_REPLAY, CORRECTION_FILE, RESULT_FILE, JobRequest
from activity_indexer_operator.jobs.view import Ended, JobState, JobView
from activity_indexer_operator.replay.model import Phase, Plan, Reason, Replay, ReplaySpec

CAUSES_SHOWN: Final = 20
TEXT_SHOWN: Final = 500


class Stage(StrEnum):
    """The two Jobs of a replay; the value ends the Job's name."""

    PLAN = "plan"
    REPLAY = "replay"


def job_name(replay: Replay, stage: Stage) -> str:
    """Always the same, so that a second Job of the stage cannot be created."""
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
    """The arguments of `activity-indexer`: always the same for the same spec and plan."""
    return (
        *("dead-letters", "replay", "--id", replay.id, "--json", "--result-file", RESULT_FILE),
        *(("--dry-run",) if stage is Stage.PLAN else ()),
        *_selection(spec),
        *_options(spec),
        # A dry run has no rate to keep, and a replay ends where its plan ended.
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a Job ended; `result` is None where its pod left none."""

    phase: Phase
    reason: Reason
    message: str
    result: ReplayResult | None

    @property
    def plan(self) -> Plan | None:
        """What a dry run found."""
        if (found := self.result) is None:
            return None
        causes = found.causes[:CAUSES_SHOWN]
        return Plan(found.matched, found.up_to, found.stale, found.parked, found.refused, causes)


_BY_EXIT_CODE: Final[dict[int | None, tuple[Phase, Reason]]] = {
    Exit.NOTHING_TO_DO: ("Nothing", Reason.NOTHING_TO_REPLAY),
    Exit.REFUSED: ("Refused", Reason.REFUSED),
    Exit.WRONG_USAGE: ("Failed", Reason.WRONG_SETTINGS),
}


def outcome_of(job: JobView) -> Outcome:
    """The outcome of a Job that is over."""
    result, ended = parse_result(job.ended), job.ended
    if job.state is JobState.COMPLETE:
        return Outcome("Succeeded", Reason.COMPLETED, result.message if result else "", result)
    late = job.reason == "DeadlineExceeded"
    otherwise = Reason.DEADLINE_EXCEEDED if late else Reason.RETRIES_EXHAUSTED
    phase, reason = _BY_EXIT_CODE.get(ended.exit_code if ended else None, ("Failed", otherwise))
    if result and result.message:
        return Outcome(phase, reason, result.message, result)
    if ended is None:
        return Outcome(phase, reason, f"Job {job.name} failed ({job.reason}), and its pod is gone", result)
    text = " ".join(ended.message.split())
    text = f"…{text[-TEXT_SHOWN:]}" if len(text) > TEXT_SHOWN else text
    code = f"the pod of Job {job.name} ended with code {ended.exit_code} ({ended.reason})"
    return Outcome(phase, reason, f"{code}: {text}".rstrip(": "), result)


def parse_result(ended: Ended | None) -> ReplayResult | None:
    """The result object in a pod's termination message; None where there is none."""
    for line in reversed(ended.message.splitlines() if ended else ()):
        try:
            result = msgspec.json.decode(line, type=ReplayResult)
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
        if result.kind == "result":
            return result
    return None
