"""What of libpq's parameters DATABASE_URL takes, and what it refuses by name."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from activity_indexer.database_url import (
    DatabaseAddress,
    TcpOptions,
    WrongDatabaseUrl,
    parse_database_url,
)

HOST = "postgresql://user:secret@db:5432/feed"


def parsed(query: str = "") -> DatabaseAddress:
    return parse_database_url(f"{HOST}?{query}" if query else HOST)


def handed_on(address: DatabaseAddress) -> dict[str, str]:
    """The parameters that the driver is given."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(address.url).query).items()}


def test_a_plain_url_stays_as_it_is() -> None:
    assert parsed() == DatabaseAddress(HOST)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@a:5432,b:5433/db",
        "postgres://a,b,[::1]:5432/db",
        "postgresql://u@a/db?host=b",
        "postgresql://u:p%40ss%2C@a/db",
        "postgresql:///db?host=a&port=1",
        "postgresql:///db?host=/run/postgresql",
    ],
)
def test_one_host_or_several_are_taken(url: str) -> None:
    assert urlsplit(parse_database_url(url).url).netloc == urlsplit(url).netloc


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a/db",
        "postgresql://",
        "postgresql:///db",
        "postgresql://a:,b/db",
        "postgresql://a:0/db",
        "postgresql://a:x,b:1/db",
        "postgresql://a,,b/db",
        "postgresql://u:p@ss@a/db",
        "a:5432/db",
    ],
)
def test_a_url_without_hosts_or_with_bad_ones_is_refused(url: str) -> None:
    with pytest.raises(WrongDatabaseUrl, match="expected a URL"):
        parse_database_url(url)


@pytest.mark.parametrize(
    "query",
    [
        *(f"sslmode={mode}" for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
        *(f"target_session_attrs={kind}" for kind in ("any", "read-write", "read-only", "primary", "standby")),
        "ssl_min_protocol_version=TLSv1.3",
        "dbname=other",
        "krbsrvname=postgres",
    ],
)
def test_what_the_driver_knows_is_handed_on(query: str) -> None:
    name, _, value = query.partition("=")
    assert handed_on(parsed(query)) == {name: value}


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=prefer",
        "channel_binding=disable",
        "gssencmode=prefer",
        "sslcompression=0",
        "sslsni=1",
        "client_encoding=UTF8",
        "load_balance_hosts=disable",
        "",
    ],
)
def test_what_asks_for_nothing_more_is_taken_and_kept_from_the_server(query: str) -> None:
    address = parsed(query)
    assert handed_on(address) == {}
    assert address.server_settings == {}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("channel_binding=require", "channel_binding=require is not supported"),
        ("gssencmode=require", "gssencmode=require is not supported"),
        ("client_encoding=latin1", "client_encoding=latin1 is not supported"),
        ("load_balance_hosts=random", "load_balance_hosts=random is not supported"),
        ("hostaddr=10.0.0.1", "hostaddr is not supported"),
        ("requirepeer=postgres", "requirepeer is not supported"),
        ("require_auth=md5", "require_auth is not supported"),
        ("sslmode=perhaps", "sslmode: expected one of disable, allow"),
        ("target_session_attrs=any-one", "target_session_attrs: expected one of any"),
        ("connect_timeout=soon", "connect_timeout: expected a whole number"),
        ("keepalives_idle=often", "keepalives_idle: expected a whole number"),
        ("keepalives=yes", "keepalives: expected a whole number"),
        ("options=whatever", "options: expected -c name=value"),
        ("sslrootcert=/no/such/file", "sslrootcert: there is no such file"),
        (
            "nonsense=1",
            "'nonsense' is no parameter of libpq; a setting of the server is given as options=-c%20nonsense",
        ),
        ("search_pth=audit", "'search_pth' is no parameter of libpq"),
        ("nonsense", "expected name=value"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(query: str, message: str) -> None:
    with pytest.raises(WrongDatabaseUrl) as caught:
        parsed(query)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("0", None), ("-1", None), ("1", 2.0), ("10", 10.0)])
def test_the_time_to_connect_is_that_of_libpq(text: str, seconds: float | None) -> None:
    assert parsed(f"connect_timeout={text}").connect_timeout == seconds


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("keepalives=0", TcpOptions(keepalives=False)),
        ("keepalives=1&keepalives_idle=30", TcpOptions(idle=30)),
        ("keepalives_interval=5&keepalives_count=3", TcpOptions(interval=5, count=3)),
        ("tcp_user_timeout=2500&keepalives_idle=0", TcpOptions(user_timeout=2.5)),
    ],
)
def test_keepalives_are_translated(query: str, options: TcpOptions) -> None:
    assert parsed(query).tcp == options


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search_path=audit,public", {"search_path": "audit,public"}),
        ("application_name=mine", {"application_name": "mine"}),
        ("fallback_application_name=a", {"application_name": "a"}),
        ("fallback_application_name=a&application_name=b", {"application_name": "b"}),
        ("options=-c%20search_path%3Daudit", {"search_path": "audit"}),
        ("options=-csearch_path%3Da%20--lock-timeout%3D5s", {"search_path": "a", "lock_timeout": "5s"}),
        ("options=-c%20search_path%3Da%5C%20b", {"search_path": "a b"}),
        ("options=-c%20any.setting%3D1", {"any.setting": "1"}),
    ],
)
def test_settings_of_the_server_are_given_by_name_or_in_options(query: str, expected: dict[str, str]) -> None:
    assert parsed(query).server_settings == expected


def test_a_plus_sign_is_a_plus_sign() -> None:
    assert handed_on(parsed("password=a+b%2Bc")) == {"password": "a+b+c"}


def test_a_ca_file_makes_the_server_show_a_certificate(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    for query, mode in (("", "verify-full"), ("sslmode=require", "verify-full"), ("sslmode=verify-ca", "verify-ca")):
        found = handed_on(parse_database_url(f"{HOST}?{query}", authority))
        assert found == {"sslmode": mode, "sslrootcert": str(authority)}


def test_the_systems_authorities_are_trusted_when_asked_for() -> None:
    assert parsed("sslrootcert=system") == DatabaseAddress(HOST, system_authorities=True)
    with pytest.raises(WrongDatabaseUrl, match="sslrootcert=system goes with sslmode=verify-full"):
        parsed("sslrootcert=system&sslmode=require")
