"""The command line: `activity-loadgen` publishes, `activity-loadgen verify` checks an earlier run's ledger."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from rich.console import Console

from activity_loadgen import cli_options as options
from activity_loadgen.cli_help import SectionGroup
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

EXIT_FAILED: Final = 1
EXIT_DIFFERENT: Final = 3
EXIT_INTERRUPTED: Final = 130

EPILOG: Final = """
Secrets and certificates come from the environment: KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM,
KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_FILE, KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE;
ELASTICSEARCH_USERNAME, ELASTICSEARCH_PASSWORD, ELASTICSEARCH_API_KEY, ELASTICSEARCH_CA_FILE.

Exit codes: 0 done; 1 Kafka or Elasticsearch did not answer; 2 a wrong option or setting; 3 verifying found
something missing, stale, different or extra; 130 interrupted.
"""


@click.group(cls=SectionGroup, invoke_without_command=True, epilog=EPILOG)
@options.basic_options
@options.event_options
@options.sending_options
@options.ledger_options
@options.verify_options("Checking")
@options.json_option("Output")
@click.pass_context
def main(ctx: click.Context, /, **given: Any) -> None:
    """Publish synthetic transactions to Kafka, keyed by user id.

    Without further options: 1,000 transactions of one user, a tenth of them updated later.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it is told by our own messages
    if ctx.invoked_subcommand is not None:
        _refuse_options_before_command(ctx)
        return
    with _readable_errors():
        plan = _plan(ctx, given)
        outcome, interrupted = asyncio.run(_publish(plan))
    if given["as_json"]:
        click.echo(outcome_json(outcome, plan.ledger))
    else:
        print_outcome(Console(), outcome, plan.ledger)
    sys.exit(EXIT_INTERRUPTED if interrupted else _exit_code(outcome.report))


@main.command()
@click.option("--ledger", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", required=True,
              help="The ledger that a run has written.")  # fmt: skip
@options.kafka_servers_option("Options")
@options.verify_options("Options")
@options.json_option("Options")
def verify(ledger: Path, **given: Any) -> None:
    """Check what an earlier run's ledger says against Elasticsearch and the dead letters."""
    with _readable_errors():
        kafka = connection_from(os.environ, given["kafka_servers"])
        search = search_from(os.environ, given["elasticsearch_url"], given["index"])
        with display_for(Console(stderr=True), None) as display:
            report = asyncio.run(run_verify(ledger, kafka, search, _verify_options(given), display))
    if given["as_json"]:
        click.echo(report_json(report))
    else:
        print_report(Console(), report)
    sys.exit(_exit_code(report))


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


def _plan(ctx: click.Context, given: Mapping[str, Any]) -> Plan:
    names = {item.name for item in fields(LoadOptions)}
    load = {name: value for name, value in given.items() if name in names and value is not None}
    if given["duration"] is not None and ctx.get_parameter_source("count") is ParameterSource.DEFAULT:
        load["count"] = None
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
    return 0 if report is None or report.ok else EXIT_DIFFERENT


def _refuse_options_before_command(ctx: click.Context) -> None:
    for name in ctx.params:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} belongs to publishing: put options after {ctx.invoked_subcommand!r}")


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn what can go wrong into a message and an exit code."""
    try:
        yield
    except OptionError as error:
        raise click.BadParameter(str(error), param_hint=error.option) from error
    except (KafkaSettingError, SearchSettingError, SpanSettingError, LedgerError) as error:
        raise click.UsageError(str(error)) from error
    except (KafkaUnavailableError, PublishError, VerifyError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_FAILED)
