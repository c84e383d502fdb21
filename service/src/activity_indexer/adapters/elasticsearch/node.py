"""A node of Elasticsearch: plain media types, no redirects, and no other answer taken for one of its own."""

from __future__ import annotations

import base64
import http
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from elastic_transport import AiohttpHttpNode, ApiResponseMeta, HttpHeaders, NodeConfig, TransportError

from activity_indexer.pipeline.outcome import quoted
from activity_indexer.settings import ElasticsearchSettings

PRODUCT: Final = "Elasticsearch"
SUPPORTED: Final = (8, 9)
"""Major versions of the server."""
WANTED: Final = " or ".join(map(str, SUPPORTED))

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
NEEDS_OPERATOR: Final = frozenset({401, 403})
_VENDOR: Final = "application/vnd.elasticsearch+"


class _Version(msgspec.Struct, frozen=True):
    number: str = ""
    distribution: str = ""


class Root(msgspec.Struct, frozen=True):
    """What Elasticsearch answers at its root."""

    version: _Version = _Version()

    @property
    def named(self) -> str:
        """Product and number."""
        product = {"": PRODUCT, "opensearch": "OpenSearch"}.get(self.version.distribution, self.version.distribution)
        return f"{product} {self.version.number}"


class _Error(msgspec.Struct, frozen=True):
    type: str
    root_cause: list[msgspec.Raw]


class _Failure(msgspec.Struct, frozen=True):
    error: _Error


_failure: Final = msgspec.json.Decoder(_Failure).decode
_root: Final = msgspec.json.Decoder(Root).decode


class NotElasticsearch(TransportError):
    """Something else answered: a gateway, a login page, another product. `status` is that of the answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Body(aiohttp.BytesPayload):
    """A body that is sent as it is: with the headers before it in one piece it would be copied once more."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        writer.send_headers()
        await super().write_with_length(writer, content_length)


class _Session:
    """An aiohttp session that follows no redirect: a bulk request must not go to another host."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, method: str, url: str, *, data: bytes | None = None, **arguments: Any) -> Any:
        body = None if data is None else _Body(data)
        return self._session.request(method, url, data=body, allow_redirects=False, **arguments)

    async def close(self) -> None:
        await self._session.close()


class Node(AiohttpHttpNode):
    """A node that speaks plain JSON, which versions 8 and 9 take alike, and judges who answered."""

    async def perform_request(  # type: ignore[override]
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        **more: Any,
    ) -> Any:
        """One exchange. Raises NotElasticsearch."""
        plain = HttpHeaders({name: _plain(value) for name, value in (headers or {}).items()})
        answer = await super().perform_request(method, target, body, plain, **more)
        if not _genuine(method, answer.meta, answer.body):
            raise NotElasticsearch(_described(answer.meta, answer.body), answer.meta.status)
        return answer

    def _create_aiohttp_session(self) -> None:
        super()._create_aiohttp_session()
        if self.session is not None:
            self.session = _Session(self.session)  # type: ignore[assignment]


def _plain(value: str) -> str:
    return f"application/{value[len(_VENDOR) :].partition(';')[0]}" if value.startswith(_VENDOR) else value


def _genuine(method: str, meta: ApiResponseMeta, body: bytes) -> bool:
    """Whether Elasticsearch answered: it names itself, does not redirect, and speaks JSON.

    Where it refuses a login it does not name itself, but its error has a form of its own.
    """
    if meta.headers.get("x-elastic-product") != PRODUCT:
        return meta.status in NEEDS_OPERATOR and _refuses_login(body)
    if 300 <= meta.status < 400:
        return False
    return method == "HEAD" or (meta.mimetype or "").endswith(("json", "yaml", "cbor", "smile"))


def _refuses_login(body: bytes) -> bool:
    try:
        return _failure(body).error.type == "security_exception"
    except (ValueError, RecursionError):
        return False


def _described(meta: ApiResponseMeta, body: bytes) -> str:
    """What was received in place of an answer of Elasticsearch."""
    try:
        phrase = f"{meta.status} {http.HTTPStatus(meta.status).phrase}"
    except ValueError:
        phrase = str(meta.status)
    if location := meta.headers.get("location"):
        phrase += f" to {quoted(location.partition('?')[0].encode())}"
    try:
        root = _root(body)
    except (ValueError, RecursionError):
        root = Root()
    if root.version.number:
        return f"expected Elasticsearch {WANTED}, got {root.named}"
    text = quoted(body)
    return f"{phrase}, not an answer of Elasticsearch{f': {text}' if text else ''}"


def nodes(settings: ElasticsearchSettings, **common: Any) -> list[NodeConfig]:
    """Where requests go: the default port of a scheme is its own, 80 or 443. `common` is for all nodes."""
    found = []
    for url in settings.hosts:
        parts = urlsplit(url)
        more: dict[str, Any] = dict(common)
        if parts.scheme == "https":
            more |= {"verify_certs": settings.verify_certs, "ssl_show_warn": False}
            if settings.ca_file:
                more["ca_certs"] = str(settings.ca_file)
        found.append(
            NodeConfig(
                parts.scheme,
                parts.hostname or "",
                parts.port or _DEFAULT_PORTS[parts.scheme],
                path_prefix=parts.path.rstrip("/"),
                **more,
            )
        )
    return found


def authorization(settings: ElasticsearchSettings) -> str:
    """The header of the login that the settings name; empty when they name none."""
    if settings.api_key.get_secret_value():
        return f"ApiKey {settings.api_key.get_secret_value()}"
    login = (settings.username, settings.password.get_secret_value()) if settings.username else _login(settings.hosts)
    return f"Basic {base64.b64encode(':'.join(login).encode()).decode()}" if login else ""


def _login(urls: Sequence[str]) -> tuple[str, str] | None:
    """User and password as the URLs have them: one for all nodes."""
    logins = [(parts.username, parts.password or "") for parts in map(urlsplit, urls) if parts.username]
    return (unquote(logins[0][0]), unquote(logins[0][1])) if logins else None
