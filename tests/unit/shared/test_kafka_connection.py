"""How Kafka is reached, and why the brokers take no connection."""

import asyncio
import socket
import ssl
from contextlib import suppress

import pytest
import trustme
from aiokafka.errors import KafkaConnectionError

from activity_common.kafka_connection import connection_errors, security_arguments, server_list, tls_context


def test_what_the_protocol_does_not_use_is_left_out() -> None:
    context = ssl.create_default_context()
    reported = {"tls": context, "mechanism": "PLAIN", "username": "u", "password": "p"}
    login = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "u", "sasl_plain_password": "p"}
    assert security_arguments("PLAINTEXT", **reported) == {"security_protocol": "PLAINTEXT"}
    assert security_arguments("SSL", **reported) == {"security_protocol": "SSL", "ssl_context": context}
    assert security_arguments("SASL_PLAINTEXT", **reported) == {"security_protocol": "SASL_PLAINTEXT", **login}
    assert security_arguments("SASL_SSL", **reported) == {
        "security_protocol": "SASL_SSL",
        "ssl_context": context,
        **login,
    }


def test_servers_are_separated_by_commas() -> None:
    assert server_list("a:1, b:2 ,[::1]:3") == ["a:1", "b:2", "[::1]:3"]


def test_a_certificate_needs_its_key(tmp_path) -> None:
    authority = trustme.CA()
    own, other = authority.issue_cert("client"), authority.issue_cert("other")
    chain, key, wrong = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "other.key"
    own.cert_chain_pems[0].write_to_path(chain)
    own.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(wrong)
    assert tls_context(certificate=chain, key=key).verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(OSError, match=r"(?i)key.values.mismatch"):
        tls_context(certificate=chain, key=wrong)


async def test_each_server_says_why_it_takes_no_connection() -> None:
    arguments = {
        "bootstrap_servers": ["127.0.0.1:1", "[::1]:1"],
        "metadata_max_age_ms": 1,
        **security_arguments("PLAINTEXT"),
    }
    found = [each async for each in connection_errors(arguments)]
    assert len(found) == 2
    assert all(isinstance(each, OSError | KafkaConnectionError) for each in found)


async def test_a_broker_that_wants_another_certificate_is_heard() -> None:
    authority = trustme.CA()
    inside, outside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(inside)
    authority.configure_trust(inside)
    authority.configure_trust(outside)
    inside.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listening, inside))
        arguments = {"bootstrap_servers": [f"127.0.0.1:{port}"], **security_arguments("SSL", tls=outside)}
        [found] = [each async for each in connection_errors(arguments)]
        await refusing
    assert isinstance(found, ssl.SSLError), repr(found)
    assert "CERTIFICATE_REQUIRED" in (found.reason or "")


def refuse(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Take one connection, as a broker does that wants a certificate."""
    connection, _ = listening.accept()
    with connection, suppress(ssl.SSLError):
        context.wrap_socket(connection, server_side=True)
