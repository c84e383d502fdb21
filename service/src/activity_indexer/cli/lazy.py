"""Groups that import a command's module when the command is called: `--help` and `--version` import none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Import as if these packages were not installed, unless they are imported already.

    Libraries import them where they find them, for features that are not used here: together as long as a tenth of the
    start takes, and 8 MiB.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: the import system finds no such module
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


class Later(click.Command):
    """Stands for a command in the list of its group: the attribute `command` of `module`, with its line of help.

    The module is imported as if the packages `without` were not installed.
    """

    def __init__(self, name: str, module: str, summary: str, without: tuple[str, ...] = ()) -> None:
        super().__init__(name, help=summary)
        self._module = module
        self._without = without

    def load(self) -> click.Command:
        """The command itself."""
        with without(*self._without):
            command: click.Command = import_module(self._module).command
        return command


class LazyGroup(click.Group):
    """A group of commands that may be `Later`."""

    def add_later(self, name: str, module: str, summary: str, without: tuple[str, ...] = ()) -> None:
        """Add the command of this module of the package."""
        self.add_command(Later(name, f"{__package__}.{module}", summary, without))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Later) else command, rest
