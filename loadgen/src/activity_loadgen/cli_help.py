"""Options that know their section of the help, and values that click does not know how to read."""

from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import click

from activity_loadgen.options import OptionError, parse_mix


class SectionOption(click.Option):
    """An option shown under a heading of its own."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionGroup(click.Group):
    """A group of commands whose options are shown by section, in the order they were declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options and then the commands."""
        shown = [(getattr(option, "section", "Help"), option.get_help_record(ctx)) for option in self.get_params(ctx)]
        for section, rows in groupby(shown, key=lambda pair: pair[0]):
            with formatter.section(section):
                formatter.write_dl([record for _, record in rows if record is not None])
        self.format_commands(ctx, formatter)


class TimeParam(click.ParamType[int]):
    """RFC 3339 time to epoch microseconds; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"expected an RFC 3339 time such as 2024-01-01T12:00:00Z, got {value!r}", param, ctx)
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class MixParam(click.ParamType[dict[str, float]]):
    """`card=6,p2p=3,crypto=1` to shares."""

    name = "mix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Read the text."""
        if isinstance(value, dict):
            return value
        try:
            return parse_mix(value)
        except OptionError as error:
            self.fail(str(error), param, ctx)
