"""The form of log lines: structlog over the standard library, and the same first fields and JSON in every program."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.stdlib import ProcessorFormatter

Fields = MutableMapping[str, Any]


def configure_structlog(least: int) -> None:
    """Hand our own lines from this level on to the standard library's loggers, whose handlers know their form."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def first_fields(fields: Fields) -> Fields:
    """`event`, `level`, `timestamp` (UTC, milliseconds) and `logger` of a line that a ProcessorFormatter renders."""
    record: logging.LogRecord = fields["_record"]
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {
        "event": fields.pop("event", ""),
        "level": record.levelname.lower(),
        "timestamp": moment.replace("+00:00", "Z"),
        "logger": record.name,
    }


def as_json(_logger: Any, _method: str, fields: Fields) -> str:
    """One JSON object on one line; what JSON has no form for is shown as its text."""
    try:
        return msgspec.json.encode(fields, enc_hook=str).decode()
    except ValueError:  # a lone surrogate: JSON in UTF-8 cannot hold it
        return msgspec.json.encode(_encodable(fields), enc_hook=lambda value: _encodable(str(value))).decode()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
