"""What each error of asyncpg and of the network means to the audit."""

import inspect
import ssl

import asyncpg
import pytest

from activity_indexer.adapters.postgres.errors import meaning, postgres_errors
from activity_indexer.errors import ActivityIndexerError, AuditRejected, Refused, Unavailable

SERVER_ERRORS = [
    error
    for _, error in inspect.getmembers(asyncpg.exceptions, inspect.isclass)
    if issubclass(error, asyncpg.PostgresError) and getattr(error, "sqlstate", None)
]
MEANINGS: dict[str, type[ActivityIndexerError]] = {
    "22": AuditRejected,
    "23": AuditRejected,
    "54": AuditRejected,
    "0A": Refused,
    "28": Refused,
    "3D": Refused,
    "3F": Refused,
    "42": Refused,
    "P0": Refused,
}


EXACT: dict[str, type[ActivityIndexerError]] = {
    "XX001": Refused,
    "XX002": Refused,
    "55P02": Refused,
    "42P05": Unavailable,
}
"""Codes that mean something else than their class."""


def from_server(state: str, message: str = "no") -> Exception:
    error = asyncpg.PostgresError.new({"S": "ERROR", "V": "ERROR", "C": state, "M": message})
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize("error", SERVER_ERRORS, ids=lambda error: f"{error.sqlstate}-{error.__name__}")
def test_every_error_that_asyncpg_knows_means_one_thing(error: type[asyncpg.PostgresError]) -> None:
    """Whatever is not known to need an operator or to blame a value may pass by itself: nothing is lost by waiting."""
    state = error.sqlstate
    wanted = EXACT.get(state) or MEANINGS.get(state[:2], Unavailable)
    assert type(meaning(from_server(state))) is wanted


@pytest.mark.parametrize(
    "state",
    [
        "08000",
        "08006",
        "25006",
        "40001",
        "40P01",
        "53100",
        "53200",
        "53300",
        "55P03",
        "57014",
        "57P01",
        "57P03",
        "58030",
    ],
)
def test_a_server_that_is_unavailable_or_busy_is_waited_for(state: str) -> None:
    assert isinstance(meaning(from_server(state)), Unavailable)


@pytest.mark.parametrize(
    ("state", "message", "advice"),
    [
        ("42P01", 'relation "transactions" does not exist', "a table is missing"),
        ("42883", "function audit_write does not exist", "a function is missing"),
        ("42703", "column x does not exist", "a column is missing"),
        ("42704", 'unrecognized configuration parameter "channel_bindin"', "remove it from DATABASE_URL"),
        ("42501", "permission denied for table transactions", "grant the user"),
        ("42804", "column x is of type json", "do not fit together"),
        ("28P01", "password authentication failed", "correct the user or password"),
        ("08P01", "unsupported startup parameter: search_path", "PgBouncer does not take this parameter"),
        ("08P01", "no such database: nowhere", "name of the database"),
    ],
)
def test_advice_goes_by_the_exact_code(state: str, message: str, advice: str) -> None:
    error = meaning(from_server(state, message))
    assert isinstance(error, Refused)
    assert advice in str(error)
    assert ("a table is missing" in str(error)) is (state == "42P01")


@pytest.mark.parametrize(
    "message", ["pgbouncer cannot connect to server", "query_wait_timeout", "server conn crashed?"]
)
def test_a_pooler_that_has_no_server_is_waited_for(message: str) -> None:
    assert isinstance(meaning(from_server("08P01", message)), Unavailable)


@pytest.mark.parametrize("state", ["ZZ999", "", "F0001"])
def test_an_unknown_error_is_waited_for(state: str) -> None:
    assert isinstance(meaning(from_server(state)), Unavailable)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Unavailable),
        (OSError("no route to host"), Unavailable),
        (TimeoutError(), Unavailable),
        (asyncpg.InterfaceError("connection is closed"), Unavailable),
        (asyncpg.InternalClientError("unexpected"), Unavailable),
        (asyncpg.ProtocolError("garbage"), Unavailable),
        (asyncpg.TargetServerAttributeNotMatched("none is a primary"), Unavailable),
        (asyncpg.OutdatedSchemaCacheError("again"), Unavailable),
        (ssl.SSLError("record layer failure"), Unavailable),
        (asyncpg.ClientConfigurationError("bad DSN"), Refused),
        (asyncpg.UnsupportedClientFeatureError("GSS"), Refused),
        (asyncpg.UnsupportedServerFeatureError("too old"), Refused),
        (ssl.SSLCertVerificationError("self-signed certificate"), Refused),
        (ConnectionError('PostgreSQL server at "h:1" rejected SSL upgrade'), Refused),
        (asyncpg.DataError("invalid input for query argument $1"), AuditRejected),
    ],
)
def test_errors_on_this_side_of_the_connection(error: Exception, wanted: type[ActivityIndexerError]) -> None:
    assert type(meaning(error)) is wanted


def test_every_refusal_says_what_to_do() -> None:
    for state, wanted in MEANINGS.items():
        if wanted is Refused:
            assert "; " in str(meaning(from_server(f"{state}000")))


def test_only_the_first_line_of_an_error_is_kept_and_not_all_of_it() -> None:
    text = str(meaning(from_server("22P02", "x" * 5000 + "\nDETAIL: secret")))
    assert len(text) < 400
    assert "secret" not in text


def test_what_asyncpg_quotes_of_a_batch_is_not_kept() -> None:
    assert "secret" not in str(meaning(asyncpg.DataError("invalid input for query argument $1: ['secret']")))


def test_other_errors_are_defects_and_pass() -> None:
    with pytest.raises(KeyError), postgres_errors():
        raise KeyError
