"""The command line: `activity-loadgen` publishes, `activity-loadgen verify` checks an earlier run's ledger.

What the commands need is imported when one of them runs, so that `--help` and wrong options are answered at once.
"""

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from activity_loadgen import cli_options as options
from activity_loadgen.cli_help import SectionGroup

EPILOG: Final = """
Secrets and certificates come from the environment: KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM,
KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_FILE, KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE;
ELASTICSEARCH_USERNAME, ELASTICSEARCH_PASSWORD, ELASTICSEARCH_API_KEY, ELASTICSEARCH_CA_FILE.

Exit codes: 0 done; 1 Kafka or Elasticsearch did not answer; 2 a wrong option or setting; 6 verifying found
something missing, stale, different or extra; 130 stopped by Ctrl-C or SIGTERM.
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
    if ctx.invoked_subcommand is not None:
        _refuse_options_before_command(ctx)
        return
    from activity_loadgen import commands  # noqa: PLC0415 - not for --help

    if given["duration"] is not None and ctx.get_parameter_source("count") is ParameterSource.DEFAULT:
        given["count"] = None
    ctx.exit(commands.publish(given))


@main.command()
@click.option("--ledger", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", required=True,
              help="The ledger that a run has written.")  # fmt: skip
@options.kafka_servers_option("Options")
@options.verify_options("Options")
@options.json_option("Options")
def verify(ledger: Path, **given: Any) -> None:
    """Check what an earlier run's ledger says against Elasticsearch and the dead letters."""
    from activity_loadgen import commands  # noqa: PLC0415 - not for --help

    click.get_current_context().exit(commands.verify(ledger, given))


def _refuse_options_before_command(ctx: click.Context) -> None:
    for name in ctx.params:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} belongs to publishing: put options after {ctx.invoked_subcommand!r}")
