"""What may pass, what cannot, and what is fatal: the whole tree of errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self


class ActivityIndexerError(Exception):
    """Base of every error this package raises on purpose."""


class EventError(ActivityIndexerError):
    """One event cannot be indexed as it is: it goes to the dead-letter topic.

    `code` is a stable word in snake_case; `stage` is `decode`, `validate`, `enrich` or `index`.
    """

    stage = "validate"

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message

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
    """A server is unavailable or busy: the same call may pass later."""


class Refused(ActivityIndexerError):
    """A server answers, but an operator is needed: credentials, rights, a missing index, a wrong setting."""


class UnexpectedIndex(Refused):
    """The alias or the index behind it is not as an indexer makes it; the message says how to correct it."""


class AuditRejected(ActivityIndexerError):
    """PostgreSQL refuses a value of these events, and always will."""


class AuditWentBack(ActivityIndexerError):
    """PostgreSQL lacks what it had: it was restored from an older backup, and has to be read again from there."""


class SettingsError(ActivityIndexerError):
    """The settings are wrong; the message names every variable, what it got and what it wants."""


def reason_of(error: BaseException) -> str:
    """The error's text with the causes that it does not name, such as an error of the operating system.

    Client libraries keep these apart, and "Connection error" alone says nothing.
    """
    text = str(error) or type(error).__name__
    for cause in _causes(error):
        detail = str(cause)
        known = getattr(cause, "strerror", None) or detail
        if detail and known not in text:
            text = f"{text} ({type(cause).__name__}: {detail})"
    return text


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        more = [*getattr(each, "errors", ()), each.__cause__ or each.__context__]
        for cause in more:
            if isinstance(cause, Exception) and id(cause) not in seen:
                seen.add(id(cause))
                waiting.append(cause)
                yield cause
