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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from activity_common.replay_result import Outcome
from activity_indexer.adapters.kafka.dead_letters.replay import replay_outside
from activity_indexer.cli.common import Duration, few_collections, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.replay_view import Lines, Terminal
from activity_indexer.cli.help import Exit, epilog
from activity_indexer.cli.selection import selection_options
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.replay.correction import WrongCorrection, parse_correction
from activity_indexer.replay.decide import Wanted
from activity_indexer.replay.errors import ReplayRefused
from activity_indexer.replay.plan import read_ends
from activity_indexer.replay.result import Result, result_json
from activity_indexer.replay.session import Options, Session
from activity_indexer.settings import KafkaSettings, Settings
from activity_indexer.telemetry.tracing.setup import OpenTelemetry

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


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command line that are neither the selection nor the output's."""

    replay_id: str
    dry_run: bool
    max_sent: int | None
    rate: float | None
    patch: Path | None
    edit: bool
    skip_invalid: bool
    max_replays: int | None
    include_parked: bool
    include_stale: bool
    to_topic: str | None
    up_to: str | None
    no_wait: bool
    wait_timeout: float
    horizon: float


@click.command(
    "replay",
    epilog=epilog(
        "dead-letters replay --dry-run",
        "dead-letters replay --stage index --error document_parsing_exception",
        "dead-letters replay --error missing_field --patch correction.json --rate 100",
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
@click.option("--max", "max_sent", type=click.IntRange(1), help="Send so many at most.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Send so many per second at most.")
@click.option(
    "--patch",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Correct each: a file with a JSON merge patch (an object) or a JSON Patch (an array).",
)
@click.option("--edit", is_flag=True, help="Correct a single one in $EDITOR.")
@click.option("--skip-invalid", is_flag=True, help="Send the others when a correction leaves some invalid.")
@click.option(
    "--max-replays", type=click.IntRange(0), help="Park what was sent so often already; else KAFKA_MAX_REPLAYS."
)
@click.option("--include-parked", is_flag=True, help="Send parked ones too, and park none.")
@click.option("--include-stale", is_flag=True, help="Send also what would change nothing.")
@click.option("--to-topic", help="Send all to this topic; else each to its own, if it is KAFKA_TRANSACTIONS_TOPIC.")
@click.option("--up-to", type=Ends(), help="End there, exclusive: as a plan printed it.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the indexer, and report nothing.")
@click.option(
    "--wait-timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Wait while the indexer's group moves so soon.",
)
@click.option(
    "--horizon",
    type=Duration(),
    default="30d",
    show_default=True,
    help="Warn of older ones: as long as purge-tombstones keeps deletions.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print lines of JSON: plan, progress, result. Never asks.")
@click.option(
    "--result-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to this file too."
)
def command(
    *, selection: Selection, replay_id: str | None, yes: bool, as_json: bool, result_file: Path | None, **given: object
) -> None:
    """Send dead letters again: a plan first, then each once, and none lost.

    Read position and sent events are one Kafka transaction. A replay that was stopped or killed goes on when it is run
    again with the same --id.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing to do, 4 refused, 5 interrupted: run it again.

    \b
    Examples:
      activity-indexer dead-letters replay --stage index --dry-run
      activity-indexer dead-letters replay --error missing_field --patch currency.json --rate 100
      activity-indexer dead-letters replay --offsets 0:4711 --edit
    """  # noqa: D301 - a backspace keeps the lines of a paragraph
    settings = read_settings()
    quiet_logging(settings)
    asked = Asked(replay_id or _new_id(), **given)  # type: ignore[arg-type]
    view = Lines(asked.replay_id) if as_json else Terminal(asked.replay_id, dry_run=asked.dry_run, sure=yes)
    result = asyncio.run(_replay(settings, selection, asked, view))
    view.ended(result)
    if result_file:
        result_file.write_text(json.dumps(result_json(result)))
    sys.exit(EXITS[result.outcome])


def _new_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"


async def _replay(settings: Settings, selection: Selection, asked: Asked, view: Lines | Terminal) -> Result:
    """The result, whatever happens."""
    try:
        wanted, options = _wanted(settings.kafka, selection, asked), _options(settings, asked)
        with view, few_collections():
            topic = wanted.topic or wanted.default_topic
            async with (
                _telemetry(settings) as telemetry,
                replay_outside(settings, asked.replay_id, topic) as outside,
            ):
                stopping = asyncio.Event()
                traced = replace(outside, writing=telemetry.replaying(outside.writing, asked.replay_id))
                session = Session(wanted, options, traced, view, stopping)
                return await _until_stopped(session, stopping)
    except (ReplayRefused, WrongCorrection) as error:
        return Result("refused", asked.replay_id, str(error), asked.dry_run)
    except ActivityIndexerError as error:
        return Result("failed", asked.replay_id, str(error), asked.dry_run)
    except asyncio.CancelledError:
        return Result("interrupted", asked.replay_id, "interrupted before anything was sent", asked.dry_run)


@asynccontextmanager
async def _telemetry(settings: Settings) -> AsyncIterator[OpenTelemetry]:
    telemetry = OpenTelemetry(settings)
    try:
        yield telemetry
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


def _wanted(kafka: KafkaSettings, selection: Selection, asked: Asked) -> Wanted:
    if asked.patch and asked.edit:
        raise click.UsageError("--patch or --edit, not both")
    if asked.replay_id == kafka.dead_letters:
        raise click.UsageError("--id must not be the name of the dead-letter topic")
    return Wanted(
        replay_id=asked.replay_id,
        selection=selection,
        default_topic=kafka.transactions_topic,
        parked_topic=kafka.parked,
        max_replays=kafka.max_replays if asked.max_replays is None else asked.max_replays,
        topic=asked.to_topic,
        correction=parse_correction(asked.patch.read_bytes()) if asked.patch else None,
        include_parked=asked.include_parked,
        include_stale=asked.include_stale,
        max_sent=asked.max_sent,
    )


def _options(settings: Settings, asked: Asked) -> Options:
    return Options(
        topic=settings.kafka.dead_letters,
        group=settings.kafka.consumer_group,
        up_to=asked.up_to,
        dry_run=asked.dry_run,
        edit=asked.edit,
        skip_invalid=asked.skip_invalid,
        rate=asked.rate,
        wait=not asked.no_wait,
        wait_timeout=asked.wait_timeout,
        horizon=asked.horizon,
        skew=settings.consumer.max_clock_skew,
    )
