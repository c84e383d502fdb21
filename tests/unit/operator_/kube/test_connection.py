"""How the operator finds the API server and says who it is: in a pod, and by a kubeconfig."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import kopf
import pytest
import trustme
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.config import incluster_config

from activity_indexer_operator.kube import connection
from activity_indexer_operator.kube.client import KubernetesCluster
from activity_indexer_operator.kube.connection import NoConnectionError, connect, login
from activity_indexer_operator.kube.ports import ClusterError
from activity_indexer_operator.kube.resources import CONFIG_MAPS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Server:
    """An API server by its certificate and the tokens that it was shown."""

    def __init__(self, server: TestServer, tokens: list[str]) -> None:
        self.port, self.tokens = server.port, tokens
        self.url = f"https://127.0.0.1:{server.port}"


@asynccontextmanager
async def serving(authority: trustme.CA) -> AsyncIterator[Server]:
    tokens: list[str] = []

    async def answered(request: web.Request) -> web.Response:
        tokens.append(request.headers.get("Authorization", ""))
        return web.json_response({"kind": "ConfigMap"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answered)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = TestServer(app, scheme="https", host="127.0.0.1")
    await server.start_server(ssl=context)
    try:
        yield Server(server, tokens)
    finally:
        await server.close()


class Pod:
    """A pod's service account, whose token the kubelet replaces."""

    def __init__(self, folder: Path, authority: trustme.CA, patch: pytest.MonkeyPatch) -> None:
        self._token, self._patch = folder / "token", patch
        certificate = folder / "ca.crt"
        authority.cert_pem.write_to_path(str(certificate))
        patch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(self._token))
        patch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
        self.kubelet_writes("first")

    def kubelet_writes(self, token: str) -> None:
        self._token.write_text(token)

    def reaches(self, server: Server) -> None:
        self._patch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        self._patch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))

    def minutes_pass(self, minutes: int) -> None:
        def now() -> dt.datetime:
            return dt.datetime.now() + dt.timedelta(minutes=minutes)  # noqa: DTZ005 - as the client does

        clock = SimpleNamespace(datetime=SimpleNamespace(now=now), timedelta=dt.timedelta)
        self._patch.setattr(incluster_config, "datetime", clock)


@pytest.fixture
def pod(tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Pod:
    return Pod(tmp_path, authority, monkeypatch)


async def test_a_pods_token_is_followed_when_the_kubelet_replaces_it(pod: Pod, authority: trustme.CA) -> None:
    async with serving(authority) as server:
        pod.reaches(server)
        cluster = KubernetesCluster(await connect(), 1.0)
        await cluster.get(CONFIG_MAPS, "a", "x")
        pod.kubelet_writes("second")
        await cluster.get(CONFIG_MAPS, "a", "x")
        pod.minutes_pass(2)
        await cluster.get(CONFIG_MAPS, "a", "x")
        await cluster.close()
    assert [token.lower() for token in server.tokens] == ["bearer first", "bearer first", "bearer second"]


async def test_a_server_with_anothers_certificate_is_not_talked_to(pod: Pod) -> None:
    async with serving(trustme.CA()) as server:
        pod.reaches(server)
        cluster = KubernetesCluster(await connect(), 1.0)
        with pytest.raises(ClusterError, match="certificate verify failed"):
            await cluster.get(CONFIG_MAPS, "a", "x")
        await cluster.close()
    assert server.tokens == []


async def test_kopf_logs_in_as_we_do(pod: Pod, authority: trustme.CA) -> None:
    async with serving(authority) as server:
        pod.reaches(server)
        info = await login()
    assert (info.server, info.insecure) == (server.url, False)
    assert (str(info.scheme).lower(), info.token) == ("bearer", "first")
    assert isinstance(info.as_ssl_context(), ssl.SSLContext)


def kubeconfig(folder: Path, server: str, authority: trustme.CA, user: dict[str, str]) -> str:
    """A file as kubectl reads it."""
    certificate, path = folder / "authority.pem", folder / "kubeconfig"
    authority.cert_pem.write_to_path(str(certificate))
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority": str(certificate)}}],
        "users": [{"name": "me", "user": user}],
    }
    path.write_text(yaml.safe_dump(body))
    return str(path)


async def test_a_kubeconfigs_token_file_is_read_again(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    async with serving(authority) as server:
        configuration = await connect(kubeconfig(tmp_path, server.url, authority, {"tokenFile": str(token)}))
        cluster = KubernetesCluster(configuration, 1.0)
        await cluster.get(CONFIG_MAPS, "a", "x")
        token.write_text("second")
        await cluster.get(CONFIG_MAPS, "a", "x")
        monkeypatch.setattr(connection, "TOKEN_AGE_MAX", -1.0)
        await cluster.get(CONFIG_MAPS, "a", "x")
        await cluster.close()
    assert server.tokens == ["Bearer first", "Bearer first", "Bearer second"]


async def test_a_kubeconfigs_client_certificate_is_kopfs_too(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = authority.issue_cert("me")
    paths = {name: str(tmp_path / name) for name in ("client-certificate", "client-key")}
    mine.cert_chain_pems[0].write_to_path(paths["client-certificate"])
    mine.private_key_pem.write_to_path(paths["client-key"])
    found = await connect(kubeconfig(tmp_path, "https://127.0.0.1:1", authority, paths))
    monkeypatch.setattr(connection, "connect", lambda: _at_once(found))
    info = await login()
    assert (info.certificate_path, info.private_key_path) == (paths["client-certificate"], paths["client-key"])
    assert info.token is None
    assert isinstance(info, kopf.ConnectionInfo)


async def _at_once(value: object) -> object:
    return value


async def test_who_has_neither_is_shown_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NoConnectionError, match="found neither; set KUBECONFIG"):
        await connect(str(tmp_path / "none"))
