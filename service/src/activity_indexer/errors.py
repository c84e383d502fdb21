"""What may pass, what cannot, and what is fatal: the whole tree of errors."""

from __future__ import annotations

from typing import Self


class ActivityIndexerError(Exception):
    """Base of every error this package raises on purpose."""


class EventError(ActivityIndexerError):
    """One event cannot be indexed as it is: it goes to the dead-letter topic.

    `code` is a stable word in snake_case; `stage` is `decode`, `validate`, `enrich` or `index`.
    """

    stage = "validate"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def kept(self) -> Self:
        """This error without what it came through, to be kept with the event.

        Its traceback leads to frames, and these to a whole batch and back to it: the garbage collector, which comes
        seldom, would be the only one to find that.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


class DecodeError(EventError):
    """The value is not one JSON object in UTF-8."""

    stage = "decode"


class ValidationError(EventError):
    """The value is JSON, but not an event."""

    stage = "validate"


class EnrichmentError(EventError):
    """An enrichment strategy raised."""

    stage = "enrich"


class DocumentError(EventError):
    """Elasticsearch refuses the document, and always will."""

    stage = "index"


class Unavailable(ActivityIndexerError):
    """A server is away or busy: the same call may pass later."""


class Refused(ActivityIndexerError):
    """A server answers, but needs people: credentials, rights, a missing index, a wrong setting."""


class AuditRejected(ActivityIndexerError):
    """PostgreSQL refuses a value of these events, and always will."""


class AuditWentBack(ActivityIndexerError):
    """PostgreSQL lacks what it had: it was restored from an older backup, and has to be read again from there."""


class SettingsError(ActivityIndexerError):
    """The settings are wrong; the message names every variable, what it got and what it wants."""
