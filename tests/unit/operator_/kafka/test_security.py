from __future__ import annotations

import base64
import ssl
from typing import Any

import pytest
import trustme
from fixtures.memory.cluster import NAMESPACE, FakeCluster

from activity_indexer_operator.kafka.security import SecretError, client_arguments, share_key
from activity_indexer_operator.kafka.spec import Kafka, Security
from activity_indexer_operator.kube.objects import CredentialsRef, FileRef, NameRef
from activity_indexer_operator.kube.resources import SECRETS


def kafka(security: Security = Security()) -> Kafka:  # noqa: B008 - a frozen value
    return Kafka(("kafka:9093",), "transactions", "indexer", security=security)


def with_secret(name: str, **entries: str | bytes) -> FakeCluster:
    cluster = FakeCluster()
    add(cluster, name, **entries)
    return cluster


def add(cluster: FakeCluster, name: str, **entries: str | bytes) -> None:
    encoded = {
        key.replace("_", "."): base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        for key, value in entries.items()
    }
    cluster.put(SECRETS, name, {})["data"] = encoded


SASL = Security(
    protocol="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512", credentials_secret_ref=CredentialsRef("user")
)


async def test_plain_text_reads_no_secret() -> None:
    cluster = FakeCluster()
    assert await client_arguments(cluster, NAMESPACE, kafka()) == {
        "bootstrap_servers": ["kafka:9093"], "security_protocol": "PLAINTEXT",
    }  # fmt: skip
    assert cluster.requests == []


async def test_a_user_logs_in_with_what_the_named_secret_holds() -> None:
    arguments = await client_arguments(with_secret("user", username="me", password="s3"), NAMESPACE, kafka(SASL))
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("me", "s3")
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"


async def test_secrets_are_read_by_get_alone() -> None:
    cluster = with_secret("user", username="me", password="s3")
    await client_arguments(cluster, NAMESPACE, kafka(SASL))
    assert set(cluster.requests) == {"get Secret"}


async def test_certificates_of_secrets_make_the_tls_context() -> None:
    authority = trustme.CA()
    own = authority.issue_cert("client")
    cluster = with_secret("ca", ca_crt=authority.cert_pem.bytes())
    chain = b"".join(part.bytes() for part in own.cert_chain_pems)
    add(cluster, "client", tls_crt=chain, tls_key=own.private_key_pem.bytes())
    security = Security(
        protocol="SSL", ca_secret_ref=FileRef("ca"), client_certificate_secret_ref=NameRef("client"),
        check_hostname=False,
    )  # fmt: skip
    context: ssl.SSLContext = (await client_arguments(cluster, NAMESPACE, kafka(security)))["ssl_context"]
    assert (len(context.get_ca_certs()), context.check_hostname) == (1, False)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, "there is no Secret user in namespace shop; create it"),
        ({"username": "me"}, "Secret user has no entry password, only: username"),
    ],
)
async def test_what_is_missing_is_reported_by_name(entries: dict[str, Any] | None, message: str) -> None:
    cluster = FakeCluster() if entries is None else with_secret("user", **entries)
    with pytest.raises(SecretError, match=message):
        await client_arguments(cluster, NAMESPACE, kafka(SASL))


async def test_a_right_that_is_missing_is_reported_as_such() -> None:
    cluster = FakeCluster()
    cluster.refused["get Secret"] = "403 forbidden"
    with pytest.raises(SecretError, match="give the operator's service account `get` on it"):
        await client_arguments(cluster, NAMESPACE, kafka(SASL))


async def test_certificates_that_are_none_are_reported() -> None:
    cluster = with_secret("ca", ca_crt="not a certificate")
    with pytest.raises(SecretError, match="expected PEM certificates"):
        await client_arguments(cluster, NAMESPACE, kafka(Security(protocol="SSL", ca_secret_ref=FileRef("ca"))))


def test_connections_are_shared_between_namespaces_only_without_secrets() -> None:
    assert share_key("a", kafka()) == share_key("b", kafka())
    assert share_key("a", kafka(SASL)) != share_key("b", kafka(SASL))
