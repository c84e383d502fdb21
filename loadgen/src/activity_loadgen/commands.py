"""What the commands do; see `cli` for their options."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from activity_common.exit_codes import Exit
from activity_loadgen.display import display_for
from activity_loadgen.kafka import KafkaSettingError, KafkaUnavailableError, connection_from
from activity_loadgen.ledger import LedgerError
from activity_loadgen.options import LoadOptions, OptionError
from activity_loadgen.publish import PublishError, PublishOptions
from activity_loadgen.report import outcome_json, print_outcome, print_report, report_json
from activity_loadgen.run import Outcome, Plan, run, run_verify
from activity_loadgen.search import SearchSettingError, search_from
from activity_loadgen.spans import SpanSettingError, spans_from
from activity_loadgen.verify import VerifyError, VerifyOptions, VerifyReport


def publish(given: Mapping[str, Any]) -> int:
    """Publish as the options say, and verify if they want that; the exit code."""
    with _readable_errors():
        plan = _plan(given)
        outcome, interrupted = asyncio.run(_publish(plan))
    if given["as_json"]:
        click.echo(outcome_json(outcome, plan.ledger))
    else:
        print_outcome(Console(), outcome, plan.ledger)
    return Exit.STOPPED if interrupted else _exit_code(outcome.report)


def verify(ledger: Path, given: Mapping[str, Any]) -> int:
    """Verify what a ledger says; the exit code."""
    with _readable_errors():
        kafka = connection_from(os.environ, given["kafka_servers"])
        search = search_from(os.environ, given["elasticsearch_url"], given["index"])
        with display_for(Console(stderr=True), None) as display:
            report = asyncio.run(run_verify(ledger, kafka, search, _verify_options(given), display))
    if given["as_json"]:
        click.echo(report_json(report))
    else:
        print_report(Console(), report)
    return _exit_code(report)


async def _publish(plan: Plan) -> tuple[Outcome, bool]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        """Stop in good order; a second signal ends us at once."""
        stop.set()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, end)
    events = None if plan.load.count is None else round(plan.load.count * plan.load.events_per_transaction)
    with display_for(Console(stderr=True), events) as display:
        outcome = await run(plan, display, stop)
    return outcome, stop.is_set()


def _plan(given: Mapping[str, Any]) -> Plan:
    names = {item.name for item in fields(LoadOptions)}
    load = {name: value for name, value in given.items() if name in names and (value is not None or name == "count")}
    search = search_from(os.environ, given["elasticsearch_url"], given["index"]) if given["verify"] else None
    return Plan(
        load=LoadOptions(**load),
        kafka=connection_from(os.environ, given["kafka_servers"]),
        publish=PublishOptions(
            topic=given["topic"],
            partitions=given["partitions"],
            rate=given["rate"],
            duration=given["duration"],
            wait=given["wait"],
        ),
        ledger=given["ledger"],
        ledger_append=given["ledger_append"],
        search=search,
        verify=_verify_options(given),
        spans=spans_from(os.environ),
    )


def _verify_options(given: Mapping[str, Any]) -> VerifyOptions:
    return VerifyOptions(
        timeout=given["verify_timeout"],
        dead_letter_topic=given["dead_letter_topic"],
        compare_bodies=given["compare_fields"],
    )


def _exit_code(report: VerifyReport | None) -> int:
    return Exit.DONE if report is None or report.ok else Exit.DIFFERENT


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn what can go wrong into a message and an exit code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it is reported by our own messages
    try:
        yield
    except OptionError as error:
        raise click.BadParameter(str(error), param_hint=error.option) from error
    except (KafkaSettingError, SearchSettingError, SpanSettingError, LedgerError) as error:
        raise click.UsageError(str(error)) from error
    except (KafkaUnavailableError, PublishError, VerifyError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(Exit.FAILED)
