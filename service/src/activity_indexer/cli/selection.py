"""The options that say which dead letters are meant: the same for every command."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from activity_indexer.cli.common import Duration
from activity_indexer.dead_letters.record import UNKNOWN
from activity_indexer.dead_letters.selection import Offsets, Selection
from activity_indexer.event import EVENT_TYPES
from activity_indexer.timestamps import parse_timestamp

STAGES = ("decode", "validate", "enrich", "index", UNKNOWN)
Command = TypeVar("Command", bound=Callable[..., Any])


class Moment(click.ParamType[int]):
    """An RFC 3339 timestamp, or how long ago, such as `2h ago`; in microseconds since the epoch."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment in microseconds since the epoch."""
        text = str(value).strip()
        if re.match(r"\d{4}-", text):
            try:
                return parse_timestamp(text)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        ago = Duration().convert(re.sub(r"\s*ago\Z", "", text), param, ctx)
        return int((time.time() - ago) * 1e6)


class OffsetRange(click.ParamType[Offsets]):
    """Offsets of a partition: `0:10-200`, `0:10-` or `0:10`."""

    name = "partition:first-last"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Offsets:
        """The range."""
        if isinstance(value, Offsets):
            return value
        try:
            return Offsets.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_OPTIONS = (
    click.option("--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Where it failed; repeatable."),
    click.option("--error", "errors", multiple=True, metavar="CLASS", help="The error's class; repeatable."),
    click.option(
        "--event-type",
        "event_types",
        multiple=True,
        metavar="TYPE",
        help=f"{', '.join(EVENT_TYPES)}, or whatever the payload has; repeatable.",
    ),
    click.option("--user", "users", multiple=True, metavar="ID", help="The transaction's user; repeatable."),
    click.option("--transaction", "transactions", multiple=True, metavar="ID", help="The transaction; repeatable."),
    click.option(
        "--since", type=Moment(), help="Failed at this time or later: 2024-05-01T12:00:00Z, or 2h ago (30d, 12h, 90m)."
    ),
    click.option("--until", type=Moment(), help="Failed before: the same forms."),
    click.option(
        "--partition", "partitions", multiple=True, type=click.IntRange(0), help="Only this partition; repeatable."
    ),
    click.option(
        "--offsets",
        multiple=True,
        type=OffsetRange(),
        help="Only these offsets: 0:10-200 (both included), 0:10- or 0:10; repeatable, and adds to --partition.",
    ),
)
_NAMES = ("stages", "errors", "event_types", "users", "transactions", "partitions")


def selection_options(command: Command) -> Command:
    """Give a command the options; it is called with `selection`."""

    @functools.wraps(command)
    def selected(**arguments: Any) -> Any:
        parts: dict[str, Any] = {name: frozenset(arguments.pop(name)) for name in _NAMES}
        parts |= {name: arguments.pop(name) for name in ("since", "until", "offsets")}
        return command(**arguments, selection=Selection(**parts))

    for option in reversed(_OPTIONS):
        selected = option(selected)
    return selected  # type: ignore[return-value]
