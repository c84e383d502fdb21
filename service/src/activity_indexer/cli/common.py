"""What commands share: settings or a clear end, and kinds of parameters."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from activity_common.exit_codes import Exit
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import ActivityIndexerError, SettingsError
from activity_indexer.settings import Settings, load_settings, unknown_variables
from activity_indexer.telemetry.logging import configure_logging

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[float]):
    """A number with a unit, such as 30d, 12h, 90m or 45s; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
        if match is None:
            self.fail(f"expected a number with a unit, such as 30d, 12h, 90m or 45s, got {value!r}", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


def read_settings() -> Settings:
    """The settings in force; ends the program with everything that is wrong with them."""
    try:
        settings = load_settings()
        load_enrichments([name.strip() for name in settings.consumer.enrichments.split(",") if name.strip()])
    except SettingsError as error:
        click.echo(f"The settings are wrong:\n{error}", err=True)
        sys.exit(Exit.WRONG_USAGE)
    for name, meant in unknown_variables(os.environ):
        click.echo(f"{name} is no setting: is {meant} meant?", err=True)
    return settings


@contextmanager
def few_collections() -> Iterator[None]:
    """Millions of records make no cycles: looking for some costs a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def quiet_logging(settings: Settings) -> None:
    """Warnings only, and on stderr: only the command's own output matters."""
    configure_logging("warning", settings.consumer.log_format, sys.stderr)


@contextmanager
def failing_clearly() -> Iterator[None]:
    """What a server or a person must fix ends the program in one line."""
    try:
        yield
    except ActivityIndexerError as error:
        click.echo(str(error), err=True)
        sys.exit(Exit.FAILED)
