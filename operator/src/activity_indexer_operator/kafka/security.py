"""How Kafka is reached: the arguments of a client, with what is in the Secrets that an object names."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from pathlib import Path
from typing import Any

from activity_common.kafka_connection import security_arguments, uses_login, uses_tls
from activity_indexer_operator.kafka.spec import Kafka, Security
from activity_indexer_operator.kube.ports import Cluster, RejectedError
from activity_indexer_operator.kube.resources import SECRETS


class SecretError(Exception):
    """A Secret is missing or cannot be used; the message says what to do."""


async def client_arguments(cluster: Cluster, namespace: str, kafka: Kafka) -> dict[str, Any]:
    """Arguments that every aiokafka client takes alike.

    Raises SecretError, and ClusterError when the API server does not answer. Each Secret is read by `get`.
    """
    security = kafka.security
    tls = await _tls(cluster, namespace, security) if uses_tls(security.protocol) else None
    username = password = None
    if uses_login(security.protocol):
        if not (security.credentials_secret_ref and security.sasl_mechanism):
            raise SecretError("a SASL protocol needs saslMechanism and credentialsSecretRef; set both")
        found = security.credentials_secret_ref
        secret = await _read(cluster, namespace, found.name)
        username = _entry(secret, found.name, found.username_key).decode()
        password = _entry(secret, found.name, found.password_key).decode()
    return {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        **security_arguments(
            security.protocol, tls=tls, mechanism=security.sasl_mechanism, username=username, password=password
        ),
    }


def share_key(namespace: str, kafka: Kafka) -> tuple[Any, ...]:
    """Objects with equal keys may share a connection: names of Secrets mean something in one namespace only."""
    security = kafka.security
    secrets = (security.credentials_secret_ref, security.ca_secret_ref, security.client_certificate_secret_ref)
    return (namespace if any(secrets) else "", kafka.bootstrap_servers, security)


async def _tls(cluster: Cluster, namespace: str, security: Security) -> ssl.SSLContext:
    authorities = None
    if authority := security.ca_secret_ref:
        secret = await _read(cluster, namespace, authority.name)
        authorities = _entry(secret, authority.name, authority.key).decode("ascii", "replace")
    try:
        context = ssl.create_default_context(cadata=authorities)
        if own := security.client_certificate_secret_ref:
            secret = await _read(cluster, namespace, own.name)
            _load_chain(context, _entry(secret, own.name, "tls.crt"), _entry(secret, own.name, "tls.key"))
    except (ssl.SSLError, ValueError) as error:
        raise SecretError(f"expected PEM certificates in the Secrets of security, got: {error}") from error
    context.check_hostname = security.check_hostname
    return context


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # The ssl module reads chains from files only.
    with tempfile.TemporaryDirectory() as folder:
        certificate_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate_file.write_bytes(certificate)
        key_file.touch(mode=0o600)
        key_file.write_bytes(key)
        context.load_cert_chain(certificate_file, key_file)


async def _read(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    try:
        secret = await cluster.get(SECRETS, namespace, name)
    except RejectedError as error:
        raise SecretError(
            f"Secret {name} may not be read: give the operator's service account `get` on it ({error})"
        ) from error
    if secret is None:
        raise SecretError(f"there is no Secret {name} in namespace {namespace}; create it")
    data: dict[str, Any] = secret.get("data") or {}
    return data


def _entry(data: dict[str, Any], name: str, key: str) -> bytes:
    if key not in data:
        raise SecretError(f"Secret {name} has no entry {key}, only: {', '.join(sorted(data)) or 'nothing'}")
    try:
        return base64.b64decode(data[key], validate=True)
    except binascii.Error as error:
        raise SecretError(f"entry {key} of Secret {name} is not base64") from error
