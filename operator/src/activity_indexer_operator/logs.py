"""Structured logs: one JSON object a line, kopf's and the libraries' lines too."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from activity_indexer_operator.tracing.protocol import TraceIds

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "k8s_skip", "k8s_ref", "settings"}


class JsonFormatter(logging.Formatter):
    """`event`, `level`, `timestamp`, `logger`, and whatever the call gave as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, object] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": at.replace("+00:00", "Z"),
            "logger": record.name,
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if reference := getattr(record, "k8s_ref", None):
            entry["key"] = f"{reference.get('namespace')}/{reference.get('name')}"
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(level: str) -> None:
    """Sends all logs to standard output in this form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(TraceIds())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Each unanswered connection would be a line here, and the condition says it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    for chatter in ("aiohttp.access", "kopf.activities", "kopf.objects"):
        logging.getLogger(chatter).setLevel(logging.WARNING)
