"""Kinds of values that settings have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, SecretStr

from activity_indexer.database_url import parse_database_url

KAFKA_NAME_LIMIT: Final = 249
"""Characters that the name of a topic or of a group's instance may have."""

_KAFKA_NAME: Final = r"(\.{0,2}[a-zA-Z0-9_-]|\.{3})[a-zA-Z0-9._-]*"
"""What Kafka takes: these characters, but neither `.` nor `..`; the charts' schemas know no lookahead."""

_SECRET_NAME: Final = re.compile(r"pass|secret|token|key", re.IGNORECASE)
_BETWEEN_URLS: Final = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*://)")
"""A comma may also stand between the hosts of one URL, and in a password."""


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def secret_url(*schemes: str) -> Any:
    """URLs separated by commas, which may hold a password."""

    def check(value: SecretStr) -> SecretStr:
        for url in value.get_secret_value().split(","):
            if not _names_a_host(url.strip(), schemes):
                wanted = " or ".join(f"{scheme}://" for scheme in schemes)
                raise ValueError(
                    f"expected a URL that begins with {wanted} and names a host, with a port that is a number if any "
                    "(in a password, special characters are percent-encoded)"
                )
        return value

    return AfterValidator(check)


def _nodes(value: SecretStr) -> SecretStr:
    urls = [url.strip() for url in value.get_secret_value().split(",")]
    if "" in urls:
        raise ValueError("expected a URL on both sides of each comma, got an empty one")
    parts = [urlsplit(url) for url in urls if _names_a_host(url, ("http", "https"))]
    if len(parts) < len(urls) or any(each.port == 0 for each in parts):
        raise ValueError(
            "expected a URL that begins with http:// or https:// and names a host, with a port from 1 to 65535 if any "
            "(in a password, special characters are percent-encoded)"
        )
    if any(each.query for each in parts):
        raise ValueError("expected a URL without a query, got one with ?")
    if len({each.scheme for each in parts}) > 1:
        raise ValueError("expected https:// for each node or http:// for each, got both")
    if len({(each.username, each.password) for each in parts if each.username is not None}) > 1:
        raise ValueError("expected one user and password for all nodes, got different ones")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    parse_database_url(value.get_secret_value())
    return value


def _names_a_host(url: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its message may quote the password
        return False
    rest = parts.path + parts.query
    password_ends_here = parts.fragment or "@" in rest  # it has a #, / or ? that is not encoded, and would be shown
    return parts.scheme in schemes and bool(parts.hostname) and not password_ends_here


def _endpoint(value: str) -> str:
    if value and (not _names_a_host(value, ("http", "https")) or "@" in value):
        raise ValueError(
            "expected a URL that begins with http:// or https:// and names a host, without user or password"
        )
    return value


def _servers(value: str) -> str:
    for server in value.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("expected host:port, or several separated by commas")
    return value


def kafka_name_problem(value: str) -> str:
    """Why Kafka refuses this as the name of a topic or of a group's instance; empty: it does not."""
    if len(value) > KAFKA_NAME_LIMIT:
        return f"expected a name of at most {KAFKA_NAME_LIMIT} characters, this one has {len(value)}"
    if not re.fullmatch(_KAFKA_NAME, value):
        return "expected a name of letters, digits, '.', '_' and '-', other than '.' and '..'"
    return ""


def _kafka_name(value: str) -> str:
    if problem := kafka_name_problem(value):
        raise ValueError(problem)
    return value


def _kafka_name_or_none(value: str) -> str:
    return value and _kafka_name(value)


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Milliseconds = Annotated[int, Field(gt=0)]
Megabyte = 1024 * 1024
Servers = Annotated[str, AfterValidator(_servers)]
KafkaName = Annotated[
    str,
    AfterValidator(_kafka_name),
    Field(
        json_schema_extra={
            "x-value": f"letters, digits, `.`, `_` and `-`, at most {KAFKA_NAME_LIMIT}",
            "pattern": f"^{_KAFKA_NAME}$",
            "minLength": 1,
            "maxLength": KAFKA_NAME_LIMIT,
        }
    ),
]
OptionalKafkaName = Annotated[
    str,
    AfterValidator(_kafka_name_or_none),
    Field(
        json_schema_extra={
            "x-value": f"letters, digits, `.`, `_` and `-`, at most {KAFKA_NAME_LIMIT}",
            "pattern": f"^({_KAFKA_NAME})?$",
            "maxLength": KAFKA_NAME_LIMIT,
        }
    ),
]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Nodes = Annotated[
    SecretStr,
    AfterValidator(_nodes),
    Field(
        json_schema_extra={
            "pattern": r"^ *(http://[^\s,?#]+( *, *http://[^\s,?#]+)*|https://[^\s,?#]+( *, *https://[^\s,?#]+)*) *$"
        }
    ),
]
"""HTTP servers, separated by commas; the pattern is for charts, which cannot ask more."""
database_url = AfterValidator(_database_url)
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]


def shown(value: Any) -> str:
    """A value as users may see it: passwords in URLs and other secrets are masked."""
    if not isinstance(value, SecretStr):
        return "" if value is None else str(value)
    text = value.get_secret_value()
    if "://" in text:
        return ",".join(_masked(url) for url in _BETWEEN_URLS.split(text))
    return "********" if text else ""


def _masked_parameter(parameter: str) -> str:
    name, assigned, _ = parameter.partition("=")
    return f"{name}=********" if assigned and _SECRET_NAME.search(name) else parameter


def _masked(url: str) -> str:
    parts = urlsplit(url.strip())
    parts = parts._replace(query="&".join(map(_masked_parameter, parts.query.split("&"))))
    if parts.password is not None:
        host = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{parts.username}:********@{host}")
    return urlunsplit(parts)
