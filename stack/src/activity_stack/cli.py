"""The commands of the local stack."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from activity_stack.errors import StackError
from activity_stack.stack import Stack
from activity_stack.tools import TOOLS, tool_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from activity_stack.stack import Status

COLUMNS = ("server", "state", "version", "address", "pid", "log")
PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}
NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class Commands(click.Group):
    """A group whose commands turn the stack's errors into a message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except StackError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
@click.option("--home", type=click.Path(path_type=Path), help="Folder of the instance. [ACTIVITY_STACK_HOME, .stack]")
@click.option("--port-offset", type=int, help="Added to every port. [ACTIVITY_STACK_PORT_OFFSET, 0]")
@click.pass_context
def main(ctx: click.Context, home: Path | None, port_offset: int | None) -> None:
    """Real Kafka, Elasticsearch, Redis and PostgreSQL on loopback."""
    try:
        ctx.obj = Stack.load(home, port_offset)
    except StackError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@NAMES
@click.option("--fresh", is_flag=True, help="Empty the data of these servers first.")
@AS_JSON
@click.pass_obj
def up(stack: Stack, names: tuple[str, ...], *, fresh: bool, as_json: bool) -> None:
    """Start servers, by default all but elasticsearch-secure and elasticsearch-8, and wait until they are ready."""
    _show(stack.up(names or None, fresh=fresh), as_json=as_json)


@main.command()
@NAMES
@click.option("--discard", is_flag=True, help="End all servers and forget all their data.")
@click.pass_obj
def down(stack: Stack, names: tuple[str, ...], *, discard: bool) -> None:
    """End servers, by default all."""
    if discard and names:
        raise click.UsageError("--discard is for all servers: give no names with it")
    if discard:
        stack.discard()
        click.echo(f"all data in {stack.settings.home} is gone")
        return
    for name, outcome in stack.down(names or None).items():
        click.echo(f"{name}: {outcome}")


@main.command()
@NAMES
@AS_JSON
@click.pass_obj
def status(stack: Stack, names: tuple[str, ...], *, as_json: bool) -> None:
    """Show servers, by default all."""
    _show(stack.status(names or None), as_json=as_json)


@main.command()
@click.argument("name")
@click.pass_obj
def start(stack: Stack, name: str) -> None:
    """Start one server."""
    _show(stack.up([name]), as_json=False)


@main.command()
@click.argument("name")
@click.pass_obj
def stop(stack: Stack, name: str) -> None:
    """End one server."""
    click.echo(f"{name}: {stack.down([name])[name]}")


@main.command()
@click.argument("name")
@click.pass_obj
def restart(stack: Stack, name: str) -> None:
    """End one server and start it again."""
    stack.restart(name)
    _show(stack.status([name]), as_json=False)


@main.command()
@click.pass_obj
def env(stack: Stack) -> None:
    """Print the addresses as export lines: eval "$(python -m activity_stack env)"."""
    for name, value in stack.environment().items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _tool(name: str) -> click.Command:
    @click.command(name, context_settings=PASS_ON, help=f"Kafka's {name}, on the stack's broker.")
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_obj
    def run(stack: Stack, arguments: tuple[str, ...]) -> None:
        command = tool_command(stack, name, arguments)
        os.execv(command[0], command)  # noqa: S606 - the tool takes over: its signals and exit code are its own

    return run


for _name in TOOLS:
    main.add_command(_tool(_name))


def _show(rows: Sequence[Status], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = [COLUMNS, *((r.name, r.state, r.version, r.address, str(r.pid or ""), r.log) for r in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
