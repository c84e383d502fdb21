"""DATABASE_URL as libpq has it, for a driver that knows only a part of libpq's parameters.

Each parameter is handed on, translated, or known to ask for nothing that the driver does not do. Every other one is
refused by its name before anything connects: the driver would send it to the server as a setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRIBUTES: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")

HANDED_ON: Final = frozenset(
    {
        "host",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "service",
        "sslmode",
        "sslnegotiation",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslrootcert",
        "sslcrl",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
        "krbsrvname",
        "gsslib",
    }
)
"""Parameters that the driver knows."""

ACCEPTED: Final[Mapping[str, frozenset[str]]] = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"auto", "utf8", "utf-8", "unicode"}),
    "gssdelegation": frozenset({"0"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "load_balance_hosts": frozenset({"disable"}),
    "max_protocol_version": frozenset({"3.0", "latest"}),
    "min_protocol_version": frozenset({"3.0"}),
    "sslcertmode": frozenset({"allow"}),
    "sslcompression": frozenset({"0"}),
    "sslsni": frozenset({"1"}),
}
"""Parameters that are accepted with these values alone: they ask for what the driver does anyway."""

SERVER_SETTINGS: Final = frozenset(
    {
        "search_path",
        "role",
        "application_name",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "default_tablespace",
        "synchronous_commit",
        "timezone",
        "work_mem",
    }
)
"""Settings of the server that may be given by their names; any one may be given in `options`."""

KEEPALIVES: Final = {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}

REFUSED: Final = frozenset(
    {
        "hostaddr",
        "requirepeer",
        "requiressl",
        "replication",
        "require_auth",
        "scram_client_key",
        "scram_server_key",
        "sslcrldir",
        "sslkeylogfile",
        "servicefile",
        "oauth_issuer",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_scope",
    }
)
"""Parameters of libpq that the driver cannot serve."""

_OPTION: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.-]*)=((?:\\.|[^\s\\])*)\s*")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,60}")
_FILES: Final = ("sslcert", "sslkey", "sslrootcert", "sslcrl")


class WrongDatabaseUrl(ValueError):
    """The URL asks for something that cannot be had; the message names the parameter and no secret."""


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """How the system watches a connection (times in seconds, None: the system's own); `keepalives`: whether at all."""

    keepalives: bool = True
    idle: int | None = None
    interval: int | None = None
    count: int | None = None
    user_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """A URL that the driver understands, and what it does not take from one.

    `connect_timeout` is in seconds, None: there is no limit of its own. `system_authorities`: the server must show a
    certificate of an authority that the system trusts.
    """

    url: str
    server_settings: Mapping[str, str] = field(default_factory=dict)
    connect_timeout: float | None = None
    tcp: TcpOptions = TcpOptions()
    system_authorities: bool = False


def parse_database_url(url: str, ca_file: Path | None = None) -> DatabaseAddress:
    """The parts of a URL; with `ca_file` the server must show a certificate of one of its authorities.

    Raises WrongDatabaseUrl.
    """
    parts = _parts(url)
    given = _parameters(parts.query)
    for name, value in given.items():
        _check(name, value)
    if ca_file is not None:
        mode = "verify-ca" if given.get("sslmode") == "verify-ca" else "verify-full"
        given |= {"sslmode": mode, "sslrootcert": str(ca_file)}
    if system := given.get("sslrootcert") == "system":
        beside = {name for name in given if name.startswith("ssl")} - ACCEPTED.keys() - {"sslrootcert", "sslmode"}
        if given.get("sslmode", "verify-full") != "verify-full" or beside:
            raise WrongDatabaseUrl("sslrootcert=system goes with sslmode=verify-full, and with no other ssl parameter")
    for name in () if system else _FILES:
        if (path := given.get(name)) and not Path(path).is_file():
            raise WrongDatabaseUrl(f"{name}: there is no such file")
    kept = {name: given[name] for name in given if name in HANDED_ON and not (system and name.startswith("ssl"))}
    query = urlencode(kept, quote_via=quote)
    return DatabaseAddress(
        url=parts._replace(query=query).geturl(),
        server_settings=_server_settings(given),
        connect_timeout=_connect_timeout(given),
        tcp=_tcp(given),
        system_authorities=system,
    )


def _parts(url: str) -> SplitResult:
    wanted = (
        "expected a URL that begins with postgresql:// or postgres:// and names a host or several separated by commas, "
        "with ports that are numbers if any (in a password, special characters are percent-encoded)"
    )
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # its message may quote the password
        raise WrongDatabaseUrl(wanted) from None
    login, _, hosts = parts.netloc.rpartition("@")
    password_ends_early = parts.fragment or "@" in parts.path + parts.query or "@" in login
    if parts.scheme not in {"postgresql", "postgres"} or password_ends_early:
        raise WrongDatabaseUrl(wanted)
    named = hosts or _parameters(parts.query).get("host", "")
    if not named or (hosts and not all(map(_is_host, hosts.split(",")))):
        raise WrongDatabaseUrl(wanted)
    return parts


def _is_host(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname) and (parts.port is None or 0 < parts.port < 65536) and not text.endswith(":")
    except ValueError:
        return False


def _parameters(query: str) -> dict[str, str]:
    """As libpq reads them: percent-encoded, and a plus sign is a plus sign; of a name given twice the last value."""
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, separator, value = pair.partition("=")
        if not separator:
            raise WrongDatabaseUrl("expected name=value, or several separated by &, after the question mark")
        found[unquote(name)] = unquote(value)
    return {"dbname" if name == "database" else name: value for name, value in found.items()}


def _check(name: str, value: str) -> None:
    if name in ACCEPTED:
        if value.lower() not in ACCEPTED[name]:
            possible = " or ".join(sorted(ACCEPTED[name]))
            raise WrongDatabaseUrl(f"{name}={value[:40]} is not supported: leave it out, or give {possible}")
    elif name in REFUSED:
        raise WrongDatabaseUrl(f"{name} is not supported: leave it out")
    elif name in {"sslmode", "target_session_attrs"}:
        possible_values = SSL_MODES if name == "sslmode" else SESSION_ATTRIBUTES
        if value not in possible_values:
            raise WrongDatabaseUrl(f"{name}: expected one of {', '.join(possible_values)}, got {value[:40]!r}")
    elif not (
        name in HANDED_ON
        or name in SERVER_SETTINGS
        or name in KEEPALIVES
        or name in {"options", "connect_timeout", "fallback_application_name"}
    ):
        hint = f"a setting of the server is given as options=-c%20{name}={{value}}" if _NAME.fullmatch(name) else ""
        raise WrongDatabaseUrl(f"{name[:40]!r} is no parameter of libpq; {hint or 'leave it out'}")


def _server_settings(given: Mapping[str, str]) -> dict[str, str]:
    settings = _options(given.get("options", ""))
    if fallback := given.get("fallback_application_name"):
        settings["application_name"] = fallback
    return settings | {name: given[name] for name in given if name in SERVER_SETTINGS}


def _options(text: str) -> dict[str, str]:
    """`-c name=value` and `--name=value`, in which a backslash makes a blank part of the value."""
    settings: dict[str, str] = {}
    text, at = text.strip(), 0
    while at < len(text):
        match = _OPTION.match(text, at)
        if match is None:
            raise WrongDatabaseUrl("options: expected -c name=value or --name=value, or several")
        settings[match[1].replace("-", "_").lower()] = re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()
    return settings


def _whole(given: Mapping[str, str], name: str) -> int | None:
    """A whole number; None when it is missing, or leaves the choice to the system (0 and less)."""
    if not (text := given.get(name, "").strip()):
        return None
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise WrongDatabaseUrl(f"{name}: expected a whole number, got {text[:40]!r}")
    return int(text) if int(text) > 0 else None


def _connect_timeout(given: Mapping[str, str]) -> float | None:
    seconds = _whole(given, "connect_timeout")
    return None if seconds is None else float(max(2, seconds))  # libpq, too, takes 1 for 2


def _tcp(given: Mapping[str, str]) -> TcpOptions:
    milliseconds = _whole(given, "tcp_user_timeout")
    return TcpOptions(
        keepalives=given.get("keepalives", "1") in {"", "1"} or _whole(given, "keepalives") is not None,
        idle=_whole(given, "keepalives_idle"),
        interval=_whole(given, "keepalives_interval"),
        count=_whole(given, "keepalives_count"),
        user_timeout=None if milliseconds is None else milliseconds / 1000,
    )
