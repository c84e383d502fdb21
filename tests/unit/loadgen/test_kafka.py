"""How the load generator reaches Kafka and Elasticsearch."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest
import trustme

from activity_loadgen.kafka import KafkaConnection, connection_from
from activity_loadgen.publish import PublishOptions, publish
from activity_loadgen.search import SearchSettingError, open_search, search_from

SECRETS = {
    "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "loader",
    "KAFKA_SASL_PASSWORD": "hidden-word",
}


def test_plain_is_the_default() -> None:
    assert connection_from({}, "a:1, b:2").client_arguments() == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "PLAINTEXT",
    }


def test_sasl_over_tls_is_taken_from_the_environment(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    connection = connection_from({**SECRETS, "KAFKA_SSL_CA_FILE": str(authority)}, "a:1")
    arguments = connection.client_arguments()
    context = arguments.pop("ssl_context")
    assert arguments == {
        "bootstrap_servers": ["a:1"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "loader",
        "sasl_plain_password": "hidden-word",
    }
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_secrets_are_never_shown() -> None:
    search = search_from({"ELASTICSEARCH_PASSWORD": "hidden-word"}, "http://a:1", "transactions")
    assert "hidden-word" not in repr(connection_from(SECRETS, "a:1")) + repr(search)


async def test_a_ca_file_that_cannot_be_read_is_named() -> None:
    search = search_from({"ELASTICSEARCH_CA_FILE": "/nowhere"}, "https://a:1", "transactions")
    with pytest.raises(SearchSettingError, match="ELASTICSEARCH_CA_FILE: expected a readable PEM file, got '/nowhere'"):
        async with open_search(search):
            pass


async def test_waiting_for_kafka_ends_when_asked_to_stop() -> None:
    stop = asyncio.Event()
    started = time.monotonic()
    unavailable = KafkaConnection("127.0.0.1:1")
    counts = await publish([], "r", unavailable, PublishOptions(wait=60), say=lambda _: stop.set(), stop=stop)
    assert counts.sent == 0
    assert time.monotonic() - started < 20
