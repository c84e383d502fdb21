"""Groups that import a command's module when the command is called: `--help` and `--version` import none of them."""

from __future__ import annotations

from importlib import import_module

import click


class Later(click.Command):
    """Stands for a command in the list of its group: the attribute `command` of `module`, with its line of help."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._module = module

    def load(self) -> click.Command:
        """The command itself."""
        command: click.Command = import_module(self._module).command
        return command


class LazyGroup(click.Group):
    """A group of commands that may be `Later`."""

    def add_later(self, name: str, module: str, summary: str) -> None:
        """Add the command of this module of the package."""
        self.add_command(Later(name, f"{__package__}.{module}", summary))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Later) else command, rest
