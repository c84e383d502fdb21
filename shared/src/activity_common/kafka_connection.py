"""How every program reaches Kafka: security arguments of the client, and why the brokers take no connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    IllegalStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

UNAUTHORIZED: Final = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
"""Errors that wait for an operator to correct a user, a password or a right."""

CLIENT_ERRORS: Final = (KafkaError, IllegalStateError, OSError, TimeoutError)
"""What any call of the client may raise; ssl.SSLError is an OSError."""

ALERT_SECONDS: Final = 1.0
"""Time in which a broker that wants another certificate reports that, once TLS seems to be agreed."""

CONNECT_MS: Final = 40_000
"""Time for a connection, where the arguments have none."""

_OF_ONE_CONNECTION: Final = (
    "client_id",
    "request_timeout_ms",
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)


def server_list(servers: str) -> list[str]:
    """The servers in `host:port,host:port`."""
    return [server.strip() for server in servers.split(",")]


def uses_tls(protocol: str) -> bool:
    """Whether connections of this security protocol are encrypted."""
    return protocol.endswith("SSL")


def uses_login(protocol: str) -> bool:
    """Whether a user logs in with this security protocol."""
    return protocol.startswith("SASL")


def security_arguments(
    protocol: str,
    *,
    tls: ssl.SSLContext | None = None,
    mechanism: str | None = None,
    username: str | None = None,
    password: str | None = None,
) -> dict[str, Any]:
    """Arguments that consumer, producer and admin client take alike; what the protocol does not use is left out."""
    arguments: dict[str, Any] = {"security_protocol": protocol}
    if uses_tls(protocol):
        arguments["ssl_context"] = tls
    if uses_login(protocol):
        arguments["sasl_mechanism"] = mechanism
        arguments["sasl_plain_username"] = username
        arguments["sasl_plain_password"] = password
    return arguments


def tls_context(
    authority: str | Path | None = None,
    certificate: str | Path | None = None,
    key: str | Path | None = None,
    password: str | None = None,
) -> ssl.SSLContext:
    """TLS with certificates from PEM files; without an authority the system's. Raises OSError."""
    context = ssl.create_default_context(cafile=authority)
    if certificate:
        context.load_cert_chain(certificate, key, password)
    return context


async def connection_errors(arguments: Mapping[str, Any]) -> AsyncGenerator[Exception, None]:
    """Why each of the servers takes no connection: the client itself reports only that none of them does.

    `arguments` are those of a client. A server that takes the connection adds nothing. Each is asked when it is its
    turn: a caller that has found the reason can stop there.
    """
    own = {name: arguments[name] for name in _OF_ONE_CONNECTION if name in arguments}
    for server in arguments["bootstrap_servers"]:
        host, _, port = server.rpartition(":")
        place = host.strip("[]"), int(port)
        try:
            if tls := own.get("ssl_context"):
                async with asyncio.timeout(own.get("request_timeout_ms", CONNECT_MS) / 1000):
                    await _hear_alert(*place, tls)
            connection = await create_conn(*place, **own)
        except CLIENT_ERRORS as error:
            yield error
        else:
            connection.close()


async def _hear_alert(host: str, port: int, tls: ssl.SSLContext) -> None:
    """Raises the ssl.SSLError with which a broker refuses our certificate, or that we have none.

    With TLS 1.3 the alert comes after the client's own handshake is done; a client that has sent something by then may
    miss it.
    """
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        async with asyncio.timeout(ALERT_SECONDS):
            await reader.read(1)
    except TimeoutError:
        return
    finally:
        writer.close()
