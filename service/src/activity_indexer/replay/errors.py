"""How a replay can end before its end."""

from __future__ import annotations

from activity_indexer.errors import ActivityIndexerError


class ReplayRefused(ActivityIndexerError):
    """It may not be done now, or not like this; the message says what to do."""


class Overtaken(ReplayRefused):
    """Another replay of the same dead letters took over; what this one committed stays, the rest was given up."""


class RecordRefused(ActivityIndexerError):
    """The broker takes none of these records, since one is too large for its topic."""
