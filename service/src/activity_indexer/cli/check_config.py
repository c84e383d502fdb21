"""`activity-indexer check-config`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from activity_common.exit_codes import Exit
from activity_indexer.cli.common import read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.settings import Settings


@click.command(
    "check-config",
    epilog=epilog(
        "check-config",
        "check-config --json | jq -r .KAFKA_TRANSACTIONS_TOPIC",
        codes={Exit.DONE: "all settings are valid", Exit.FAILED: None},
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show every setting, or everything that is wrong with them; exit code 2 then."""
    rows = list(_rows(read_settings()))
    if as_json:
        click.echo(json.dumps({name: value for name, value, _, _ in rows}, indent=2))
        return
    table = Table("Variable", "Value", "From", "Meaning", title="Settings", title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _rows(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    for name, value, meaning in settings.in_force():
        yield name, value, "environment" if os.environ.get(name) else "default", meaning
