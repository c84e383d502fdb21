"""The connection to the API server: by the pod's service account, else by the user's kubeconfig."""

from __future__ import annotations

import time
from typing import Any, Final

import kopf
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

TOKEN_AGE_MAX: Final = 60.0
"""Seconds after which a kubeconfig's token is read again; the client reads a service account's as often."""
TOKEN: Final = "BearerToken"  # noqa: S105 - where the client keeps it, not what it is


class NoConnectionError(Exception):
    """Neither a service account nor a usable kubeconfig is there."""


async def connect(kubeconfig: str | None = None) -> Configuration:
    """The address of the API server and our credentials; `kubeconfig` is a file that is used before all others.

    The token is renewed by what is returned: service accounts' tokens end within the hour. Raises NoConnectionError.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)
            return configuration
    except ConfigException:
        pass  # This is no pod.
    try:
        loader = await load_kube_config(kubeconfig, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        expected = "expected a service account or a kubeconfig, found neither; set KUBECONFIG"
        raise NoConnectionError(f"{expected} ({error})") from error
    configuration.refresh_api_key_hook = _Renewal(loader)
    return configuration


async def login(**_: Any) -> kopf.ConnectionInfo:
    """The same for kopf, which asks again when the API server no longer accepts the token."""
    configuration = await connect()
    header = await configuration.get_api_key_with_prefix(TOKEN) or ""
    scheme, _space, token = header.strip().partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        trust_env=True,
    )


class _Renewal:
    """A kubeconfig may name a file or a program that the token comes from; both are asked again."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._done_at = time.monotonic()

    async def __call__(self, configuration: Configuration) -> None:
        if time.monotonic() - self._done_at > TOKEN_AGE_MAX:
            self._done_at = time.monotonic()
            await self._loader.load_and_set(configuration)
