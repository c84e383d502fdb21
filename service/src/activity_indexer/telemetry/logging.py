"""Logs: one form for our own lines and those of every library, JSON or readable, without secrets.

This module, `masking` and `routine` need nothing else of the package.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

from activity_common.log_form import Fields, as_json, configure_structlog, first_fields
from activity_indexer.telemetry.masking import masked
from activity_indexer.telemetry.routine import RoutineIsWarned

PACKAGE: Final = __name__.partition(".")[0]
LEVELS: Final = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
QUIET: Final = ("elastic_transport.transport", "aiohttp.access")
"""Libraries that log each request at info."""

REPEAT_INTERVAL: Final = 10.0
"""Seconds in which a library's line is shown once."""

REPEAT_KINDS: Final = 1000
"""Different lines that are remembered at most."""


class Repeats:
    """Decides which of many equal lines is shown: one per `interval` (seconds). Remembers `kinds` of lines at most."""

    def __init__(self, interval: float = REPEAT_INTERVAL, kinds: int = REPEAT_KINDS) -> None:
        self._interval = interval
        self._kinds = kinds
        self._seen: dict[tuple[str, ...], tuple[float, int]] = {}

    def suppressed(self, now: float, *kind: str, of: int = 1) -> int | None:
        """How many lines of this kind were left out before this one; None when this one is to be left out, too.

        A line that stands for `of` lines leaves out all others of them.
        """
        since, count = self._seen.pop(kind, (None, 0))
        if since is not None and 0 <= now - since < self._interval:
            self._seen[kind] = (since, count + of)
            return None
        self._seen[kind] = (now, 0)
        if len(self._seen) > self._kinds:
            del self._seen[next(iter(self._seen))]
        return count + of - 1


class RepeatLimit(logging.Filter):
    """Lets a library's line pass once per interval; the next one that passes says how many were `suppressed`.

    Lines are the same when logger, level and message template are. Our own lines always pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        if _is_own(record):
            return True
        suppressed = self._repeats.suppressed(record.created, record.name, record.levelname, str(record.msg))
        if suppressed:
            record.suppressed = suppressed
        return suppressed is not None


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second configuration replaces it and leaves other handlers alone."""


def configure_logging(
    level: str = "info", log_format: str = "auto", stream: TextIO | None = None, process: int | None = None
) -> None:
    """Send all logs of the process to `stream` (standard output), in one form.

    `process` is the number of this process, where there are several: each line has it.
    `level` is debug, info, warning or error. Libraries speak at info or above even at debug: what they say below holds
    payloads. `log_format` is json, console, or auto: console on a terminal, else JSON.
    """
    out = stream or sys.stdout
    least = LEVELS[level]
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    _configure_root(_handler(out, least, process, console=console), least)
    logging.captureWarnings(capture=True)
    configure_structlog(least)
    sys.excepthook = _log_crash


def is_debug() -> bool:
    """Whether lines at debug are shown. Ask once per batch, before anything is made for them."""
    return logging.getLogger(PACKAGE).isEnabledFor(logging.DEBUG)


def log_event(event_type: str, transaction_id: str, message_id: str) -> None:
    """The line of one event, at debug; `timestamp` is the time of the line."""
    structlog.get_logger(f"{PACKAGE}.event").debug(
        "Processing transaction message", event_type=event_type, transaction_id=transaction_id, message_id=message_id
    )


def _configure_root(handler: logging.Handler, least: int) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(least, logging.INFO))
    logging.getLogger(PACKAGE).setLevel(least)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO if least == logging.DEBUG else max(least, logging.WARNING))


def _handler(stream: TextIO, least: int, process: int | None, *, console: bool) -> logging.Handler:
    handler = _Handler(stream)
    handler.addFilter(RoutineIsWarned(least))
    handler.addFilter(RepeatLimit())
    handler.setFormatter(
        ProcessorFormatter(
            processors=[
                partial(_head, {} if process is None else {"process": process}),
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                ProcessorFormatter.remove_processors_meta,
                _mask,
                *((_escape, _console(stream)) if console else (as_json,)),
            ]
        )
    )
    return handler


def _head(always: Fields, _logger: Any, _method: str, fields: Fields) -> Fields:
    record: logging.LogRecord = fields["_record"]
    head = {**first_fields(fields), **always}
    if suppressed := getattr(record, "suppressed", 0):
        head["suppressed"] = suppressed
    return head | {key: value for key, value in fields.items() if key not in head}


def _mask(_logger: Any, _method: str, fields: Fields) -> Fields:
    shown: Fields = masked(fields)
    return shown


def _escape(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Values come from outside: none may steer the terminal."""
    for key, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key in ("exception", "stack") else [value]
            fields[key] = "\n".join(_printable(line) for line in lines)
    return fields


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def _console(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
        pad_event_to=0,
    )


def _is_own(record: logging.LogRecord) -> bool:
    return hasattr(record, "_logger")


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger(f"{PACKAGE}.process").critical("process.crashed", exc_info=(kind, error, trace))
