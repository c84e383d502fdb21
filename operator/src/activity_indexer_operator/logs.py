"""Structured logs: one JSON object a line, kopf's and the libraries' lines too."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import structlog
from structlog.stdlib import ProcessorFormatter

from activity_common.log_form import Fields, as_json, configure_structlog, first_fields
from activity_indexer_operator.tracing.protocol import TraceIds

NOT_SHOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "k8s_skip", "k8s_ref", "settings", "_logger", "_name",
}  # fmt: skip
"""Attributes of a record that are no fields of its line."""


def json_formatter() -> logging.Formatter:
    """`event`, `level`, `timestamp`, `logger`, and whatever the call gave; a traceback is in `error`."""
    return ProcessorFormatter(
        processors=[
            _all_fields,
            structlog.processors.format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            _traceback_as_error,
            as_json,
        ]
    )


def configure(level: str) -> None:
    """Sends all logs to standard output in this form."""
    least = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(json_formatter())
    handler.addFilter(TraceIds())
    logging.basicConfig(level=least, handlers=[handler], force=True)
    configure_structlog(least)
    # Each failed connection would be a line here, and the condition reports it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for chatter in ("aiohttp.access", "kopf.activities", "kopf.objects"):
        logging.getLogger(chatter).setLevel(logging.WARNING)


def _all_fields(_logger: Any, _method: str, fields: Fields) -> Fields:
    """What our own calls give as keywords, and what the libraries' give as `extra`."""
    record: logging.LogRecord = fields["_record"]
    found = dict(first_fields(fields))
    found |= {name: value for name, value in vars(record).items() if name not in NOT_SHOWN}
    if reference := getattr(record, "k8s_ref", None):
        found["key"] = f"{reference.get('namespace')}/{reference.get('name')}"
    return found | dict(fields)


def _traceback_as_error(_logger: Any, _method: str, fields: Fields) -> Fields:
    if trace := fields.pop("exception", None):
        fields["error"] = trace
    return fields
