"""What an error of PostgreSQL means: wait, call people, or put the event aside."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg

from activity_indexer.errors import ActivityIndexerError, AuditRejected, Refused, Unavailable
from activity_indexer.timestamps import shorten

MAX_REASON: Final = 300
REJECTED_CLASSES: Final = frozenset({"22", "23", "54"})
"""SQLSTATE classes that blame a value: data exception, integrity constraint, program limit."""

ADVICE: Final = {
    "28": "correct the user or password in DATABASE_URL, or the server's pg_hba.conf",
    "3D": "create the database, or correct its name in DATABASE_URL",
    "3F": "create the schema that search_path names",
    "42501": "grant the user of DATABASE_URL this right",
    "42": "a table of the audit is missing or was altered: restore it, or name an empty database in DATABASE_URL",
    "0A": "the server lacks something the audit needs: use PostgreSQL 13 or later",
    "P0": "a trigger or function in the database stops the audit: correct it",
    "XX001": "the database is damaged: restore it from a backup",
    "XX002": "an index is damaged: REINDEX it",
}
"""SQLSTATE classes and codes that need people, and what they should do. Every other one may pass by itself."""

_CLIENT_REFUSES: Final = (
    asyncpg.ClientConfigurationError,
    asyncpg.UnsupportedClientFeatureError,
    asyncpg.UnsupportedServerFeatureError,
)
_KNOWN: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Turns what asyncpg raises inside into Unavailable, Refused or AuditRejected."""
    try:
        yield
    except _KNOWN as error:
        raise meaning(error) from None


def meaning(error: Exception) -> ActivityIndexerError:
    """The error of ours that an error of asyncpg or of the network stands for.

    Only its first line is kept: details may quote the event.
    """
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error)
    if isinstance(error, _CLIENT_REFUSES):
        return Refused(f"DATABASE_URL cannot be used: {_text(error)}; correct it")
    if isinstance(error, TimeoutError):
        return Unavailable("PostgreSQL did not answer within DATABASE_TIMEOUT")
    if advice := _tls_advice(error):
        return Refused(f"no secure connection to PostgreSQL: {_text(error)}; {advice}")
    return Unavailable(f"PostgreSQL is away: {_text(error)}")


def _tls_advice(error: Exception) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "correct DATABASE_CA_FILE, or the host's name in DATABASE_URL"
    if isinstance(error, ssl.SSLError) and getattr(error, "library", None) in {"X509", "PEM"}:
        return "expected certificates in PEM in DATABASE_CA_FILE"
    if isinstance(error, ConnectionError) and "rejected SSL" in str(error):
        return "switch TLS on in the server, or correct sslmode in DATABASE_URL"
    return None


def _of_server(error: asyncpg.PostgresError) -> ActivityIndexerError:
    state = str(getattr(error, "sqlstate", None) or "")
    if state[:2] in REJECTED_CLASSES:
        if getattr(error, "severity", None) is None:  # asyncpg's own: its message quotes the whole batch
            return AuditRejected("PostgreSQL has no such value: a number or character is out of its range")
        return AuditRejected(f"PostgreSQL refuses a value: {_text(error)} (SQLSTATE {state})")
    if advice := ADVICE.get(state) or ADVICE.get(state[:2]):
        return Refused(f"PostgreSQL refuses: {_text(error)} (SQLSTATE {state}); {advice}")
    return Unavailable(f"PostgreSQL cannot do it now: {_text(error)} (SQLSTATE {state or 'unknown'})")


def _text(error: Any) -> str:
    first_line = next(iter(str(error).splitlines()), "")
    return shorten(first_line or type(error).__name__, MAX_REASON)
