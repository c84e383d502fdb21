"""What an error of PostgreSQL means: wait, ask for an operator, or put the event aside."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg

from activity_indexer.errors import ActivityIndexerError, AuditRejected, AuditWentBack, Refused, Unavailable
from activity_indexer.timestamps import shorten

MAX_REASON: Final = 300
WENT_BACK: Final = "AI001"
"""SQLSTATE that audit_write raises itself."""
REJECTED_CLASSES: Final = frozenset({"22", "23", "54"})
"""SQLSTATE classes that blame a value: data exception, integrity constraint, program limit."""

_ALTERED: Final = "a table or function of the audit was altered or removed: restore it, or name an empty database"
_PARAMETER: Final = "the server does not know this parameter: remove it from DATABASE_URL"

ADVICE: Final = {
    "28000": "correct the user in DATABASE_URL, or the server's pg_hba.conf",
    "28P01": "correct the user or password in DATABASE_URL",
    "3D000": "create the database, or correct its name in DATABASE_URL",
    "3F000": "create the schema that search_path names",
    "42501": "grant the user of DATABASE_URL this right",
    "42601": "this PostgreSQL does not understand a statement of the audit: use PostgreSQL 13 or later",
    "42703": f"a column is missing: {_ALTERED}",
    "42704": _PARAMETER,
    "42883": f"a function is missing: {_ALTERED}",
    "42P01": f"a table is missing: {_ALTERED}",
    "42P06": "another program creates the same schema: run the audit again",
    "42P07": "a table of this name exists already: rename it, or name another database",
    "55P02": "the server takes this parameter only when it starts: remove it from DATABASE_URL",
    "XX001": "the database is damaged: restore it from a backup",
    "XX002": "an index is damaged: REINDEX it",
}
"""What an on-call engineer does about these SQLSTATEs."""

CLASS_ADVICE: Final = {
    "0A": "the server lacks something the audit needs: use PostgreSQL 13 or later, or see the message",
    "28": "correct the user or password in DATABASE_URL, or the server's pg_hba.conf",
    "3D": "correct the name of the database in DATABASE_URL",
    "3F": "correct search_path in DATABASE_URL",
    "42": "the database and this program do not fit together: look up the SQLSTATE",
    "P0": "a trigger or function in the database stops the audit: correct it",
}
"""Other codes of these classes need an on-call engineer, too. Every other code may pass by itself."""

POOLER_ADVICE: Final = {
    "unsupported startup parameter": "PgBouncer does not take this parameter from clients: add it to its "
    "ignore_startup_parameters and give it to the user (ALTER ROLE … SET), or remove it from DATABASE_URL",
    "no such database": "correct the name of the database in DATABASE_URL, or PgBouncer's [databases]",
    "no such user": "correct the user in DATABASE_URL, or PgBouncer's auth_file",
    "password authentication failed": "correct the password in DATABASE_URL, or PgBouncer's auth_file",
    "SASL authentication failed": "correct the password in DATABASE_URL, or PgBouncer's auth_file",
    "auth failed": "correct the user or password in DATABASE_URL, or PgBouncer's auth_file",
}
"""PgBouncer gives one SQLSTATE (08P01) to all its own errors: their first words distinguish them."""

PASSING: Final = frozenset({"42P05"})
"""A prepared statement of another client is in the way: the next try has another connection."""

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
    return Unavailable(f"PostgreSQL is unavailable: {_text(error)}")


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
    if state == WENT_BACK:
        return AuditWentBack("PostgreSQL lacks what was written before: it was restored from an older backup")
    if advice := _advice(state, str(error)):
        return Refused(f"PostgreSQL refuses: {_text(error)} (SQLSTATE {state}); {advice}")
    return Unavailable(f"PostgreSQL cannot do it now: {_text(error)} (SQLSTATE {state or 'unknown'})")


def _advice(state: str, message: str) -> str | None:
    if state == "08P01":
        return next((advice for start, advice in POOLER_ADVICE.items() if message.startswith(start)), None)
    return None if state in PASSING else ADVICE.get(state) or CLASS_ADVICE.get(state[:2])


def _text(error: Any) -> str:
    first_line = next(iter(str(error).splitlines()), "")
    return shorten(first_line or type(error).__name__, MAX_REASON)
