"""`activity-indexer dead-letters replay`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from activity_common.exit_codes import Exit
from activity_common.replay_result import Outcome
from activity_indexer.adapters.elasticsearch.document_reader import document_reader
from activity_indexer.adapters.kafka.client import admin_client
from activity_indexer.adapters.kafka.dead_letters.reader import dead_letter_reader
from activity_indexer.adapters.kafka.dead_letters.replay_positions import GroupPositions
from activity_indexer.adapters.kafka.dead_letters.replay_transactions import replay_writing
from activity_indexer.cli.common import Duration, few_collections, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.replay_view import Lines, Terminal
from activity_indexer.cli.help import epilog
from activity_indexer.cli.selection import selection_options
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.replay.checkpoint import read_ends
from activity_indexer.replay.correction import WrongCorrection, parse_correction
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.ports import ReplayRefused
from activity_indexer.replay.report import Result
from activity_indexer.replay.session import Outside, Session, Writing
from activity_indexer.settings import Settings, callers_trace
from activity_indexer.telemetry.open_telemetry import OpenTelemetry

EXITS: Final[dict[Outcome, Exit]] = {
    "done": Exit.DONE,
    "nothing": Exit.NOTHING_TO_DO,
    "refused": Exit.REFUSED,
    "interrupted": Exit.INTERRUPTED,
    "failed": Exit.FAILED,
}


class Ends(click.ParamType[str]):
    """Frozen ends as a plan prints them: `0:123,1:99`."""

    name = "partition:offset,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, when it can be read."""
        try:
            read_ends(str(value), "")
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class ReplayId(click.ParamType[str]):
    """A name that Kafka takes as part of a group's."""

    name = "id"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,150}", str(value)):
            self.fail(f"expected 1 to 150 letters, digits, dots, dashes or underscores, got {value!r}", param, ctx)
        return str(value)


@click.command(
    "replay",
    epilog=epilog(
        "dead-letters replay --dry-run",
        "dead-letters replay --stage index --error document_parsing_exception",
        "dead-letters replay --error missing_field --patch correction.json --rate 100",
        "dead-letters replay --offsets 0:4711 --edit",
        codes={
            Exit.DONE: "done",
            Exit.NOTHING_TO_DO: "nothing to do",
            Exit.REFUSED: "refused: another replay runs, the selection is not the one begun, a correction is invalid",
            Exit.INTERRUPTED: "interrupted: run again with the same --id to go on",
        },
    ),
)
@selection_options
@click.option("--id", "replay_id", type=ReplayId(), help="Name of this replay; the same one goes on where it stopped.")
@click.option("--dry-run", is_flag=True, help="Print the plan and send nothing.")
@click.option("--max", "max_sent", type=click.IntRange(1), help="Send at most this many.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Send at most this many per second.")
@click.option(
    "--patch",
    type=click.File("rb"),
    help="Correct each one: a file with a JSON merge patch (an object) or a JSON Patch (an array).",
)
@click.option("--edit", is_flag=True, help="Correct a single one in $EDITOR.")
@click.option("--skip-invalid", is_flag=True, help="Send the others when a correction leaves some invalid.")
@click.option(
    "--max-replays", type=click.IntRange(0), help="Park what was sent this often already; default: KAFKA_MAX_REPLAYS."
)
@click.option("--include-parked", is_flag=True, help="Send parked ones too, and park none.")
@click.option("--include-stale", is_flag=True, help="Also send what would change nothing in the index.")
@click.option("--to-topic", help="Send all to this topic; default: each to its own, if it is KAFKA_TRANSACTIONS_TOPIC.")
@click.option("--up-to", type=Ends(), help="End before these offsets, as a plan printed them.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the indexer, and report nothing about the events.")
@click.option(
    "--wait-timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Stop waiting when the indexer's group makes no progress for this time.",
)
@click.option(
    "--horizon",
    type=Duration(),
    default="30d",
    show_default=True,
    help="Warn about older ones: how long purge-tombstones keeps deletions.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print lines of JSON: plan, progress, result. Never ask.")
@click.option(
    "--result-file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the result to this file."
)
def command(
    *,
    replay_id: str | None,
    patch: BinaryIO | None,
    max_replays: int | None,
    no_wait: bool,
    yes: bool,
    as_json: bool,
    result_file: Path | None,
    **given: Any,
) -> None:
    """Send dead letters again: a plan first, then each once, and none lost.

    Read position and sent events are one Kafka transaction. A replay that was stopped or killed goes on when it is run
    again with the same --id.
    """
    settings = read_settings()
    quiet_logging(settings)
    if patch and given["edit"]:
        raise click.UsageError("--patch or --edit, not both")
    kafka = settings.kafka
    options = ReplayOptions(
        replay_id=replay_id or f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}",
        indexer_group=kafka.consumer_group,
        events_topic=kafka.transactions_topic,
        dead_letter_topic=kafka.dead_letters,
        parked_topic=kafka.parked,
        max_replays=kafka.max_replays if max_replays is None else max_replays,
        max_clock_skew=settings.consumer.max_clock_skew,
        wait=not no_wait,
        **given,
    )
    if options.replay_id == kafka.dead_letters:
        raise click.UsageError("--id must not be the name of the dead-letter topic")
    view = Lines(options.replay_id) if as_json else Terminal(options.replay_id, dry_run=options.dry_run, sure=yes)
    result = asyncio.run(_replay(settings, options, patch.read() if patch else None, view))
    view.ended(result)
    if result_file:
        result_file.write_text(json.dumps(result.as_json()))
    sys.exit(EXITS[result.outcome])


async def _replay(settings: Settings, options: ReplayOptions, patch: bytes | None, view: Lines | Terminal) -> Result:
    """The result, whatever happens."""
    try:
        if patch is not None:
            options = replace(options, correction=parse_correction(patch))
        with view, few_collections():
            async with replay_outside(settings, options) as outside:
                stopping = asyncio.Event()
                return await _until_stopped(Session(options, outside, view, stopping), stopping)
    except (ReplayRefused, WrongCorrection) as error:
        return Result("refused", options.replay_id, str(error), options.dry_run)
    except ActivityIndexerError as error:
        return Result("failed", options.replay_id, str(error), options.dry_run)
    except asyncio.CancelledError:
        return Result("interrupted", options.replay_id, "interrupted before anything was sent", options.dry_run)


@asynccontextmanager
async def replay_outside(settings: Settings, options: ReplayOptions) -> AsyncIterator[Outside]:
    """The outside systems of a replay, opened and closed together. Raises Unavailable or Refused."""
    kafka = settings.kafka
    writing: Writing = partial(replay_writing, kafka, options.replay_id, options.target)
    telemetry = OpenTelemetry(settings)
    if spans := telemetry.spans(kafka.dead_letters, options.group, kafka.client_id):
        from activity_indexer.replay.tracing import ReplaySpans  # noqa: PLC0415 - only where tracing is on

        writing = ReplaySpans(spans, options.replay_id, callers_trace()).traced(writing)
    try:
        async with (
            dead_letter_reader(kafka) as letters,
            document_reader(settings.elasticsearch) as documents,
            admin_client(kafka) as client,
        ):
            yield Outside(letters, documents, GroupPositions(kafka, client), writing)
    finally:
        await telemetry.stop()


async def _until_stopped(session: Session, stopping: asyncio.Event) -> Result:
    """Run it; a signal ends it, but never within a transaction."""
    running = asyncio.current_task()

    def stop() -> None:
        stopping.set()
        if running and not session.sending:
            running.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        return await session.run()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
