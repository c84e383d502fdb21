"""Requests to Elasticsearch without the full client: ready bytes out, the answer's bytes back.

Nodes and their pool are those of the client, with its TLS and time-outs, and a node that failed is left alone for a
while. What is left out is what the client does with each request and answer: two copies of the body, a search for the
right serializer, spans and warnings. That takes longer than the request, and importing the client takes longer than all
else at the start of an indexer. Commands use the full client (client.py).
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec
from elastic_transport import (
    ApiError,
    ApiResponse,
    ApiResponseMeta,
    ConnectionTimeout,
    HttpHeaders,
    NodePool,
    ObjectApiResponse,
    SerializationError,
)
from elastic_transport import ConnectionError as NoConnection

from activity_indexer.adapters.elasticsearch.node import (
    NEEDS_OPERATOR,
    SUPPORTED,
    WANTED,
    Node,
    NotElasticsearch,
    Root,
    authorization,
    nodes,
)
from activity_indexer.errors import Refused, Unavailable, reason_of
from activity_indexer.pipeline.outcome import ItemError, quoted
from activity_indexer.settings import ElasticsearchSettings

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

_RETRY_STATUS: Final = frozenset({408, 429, 502, 503, 504})
_NODE_IS_WELL: Final = frozenset({400, 401, 402, 403, 404, 409})
"""Statuses of a refusal that says nothing against the node."""


class Client(Protocol):
    """What code needs that works with the full client and with ElasticsearchTransport alike."""

    async def perform_request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Any | None = None
    ) -> ApiResponse[Any]:
        """A request with JSON in and out. Raises ApiError for a status that is no success, or TransportError."""


class Answer(NamedTuple):
    """An answer of Elasticsearch, as it came."""

    meta: ApiResponseMeta
    body: bytes

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.meta.status

    def error(self) -> ApiError:
        """The error that a status is which is no success."""
        body: Any = self.body
        try:
            body = msgspec.json.decode(self.body)
            error = body["error"]
            message = str(error["type"] if isinstance(error, dict) else error)
        except (ValueError, RecursionError, LookupError, TypeError):
            message = str(body)
        return ApiError(message, self.meta, body)


class ElasticsearchTransport:
    """Sends requests to one of the nodes. A client, too (see Client), for those that send few and look at the answers.

    Nothing is tried twice: the policy of retries is the caller's.
    """

    def __init__(self, settings: ElasticsearchSettings, connections_per_node: int = 10) -> None:
        configs = nodes(settings, connections_per_node=connections_per_node, request_timeout=settings.request_timeout)
        self._nodes = NodePool(configs, cast("Any", Node))
        login = authorization(settings)
        self._headers = {
            kind: HttpHeaders({"accept": JSON, "content-type": kind} | ({"authorization": login} if login else {}))
            for kind in (JSON, NDJSON)
        }

    async def send(self, method: str, target: str, body: bytes | None = None, kind: str = NDJSON) -> Answer:
        """Send a body as it is; the answer may have any status. Raises NotElasticsearch or another TransportError."""
        node = cast("Node", self._nodes.get())
        try:
            answer = await node.perform_request(method, target, body, self._headers[kind])
        except (ConnectionTimeout, NoConnection, NotElasticsearch) as error:
            if not isinstance(error, NotElasticsearch) or error.status in _RETRY_STATUS:  # a gateway before a dead node
                self._nodes.mark_dead(cast("Any", node))
            raise
        status = answer.meta.status
        mark = self._nodes.mark_live if 200 <= status < 299 or status in _NODE_IS_WELL else self._nodes.mark_dead
        mark(cast("Any", node))
        return Answer(answer.meta, answer.body)

    async def perform_request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - all is JSON; the full client has to be asked for it
        body: Any | None = None,
    ) -> ApiResponse[Any]:
        """Client.perform_request."""
        answer = await self.send(method, path, None if body is None else msgspec.json.encode(body), JSON)
        if not 200 <= answer.status < 299:
            raise answer.error()
        try:
            return ObjectApiResponse(meta=answer.meta, body=msgspec.json.decode(answer.body))
        except (ValueError, RecursionError) as error:
            raise SerializationError(f"not JSON: {quoted(answer.body)}", errors=(error,)) from error

    async def close(self) -> None:
        """Close the connections."""
        for node in self._nodes.all():
            await cast("Node", node).close()


def mapped(error: Exception) -> Unavailable | Refused:
    """An error of the client in our words."""
    if isinstance(error, NotElasticsearch):
        refuses = error.status in NEEDS_OPERATOR or error.status < 300
        return (Refused if refuses else Unavailable)(f"Elasticsearch: {error.message}")
    if isinstance(error, ApiError):
        text = f"Elasticsearch answers {error.meta.status}: {_words(error)}"
        return Unavailable(text) if error.meta.status in _RETRY_STATUS else Refused(text)
    return Unavailable(f"Elasticsearch: {reason_of(error)}")


def _words(error: ApiError) -> str:
    """Elasticsearch's own words for an error."""
    body = error.body
    found = body.get("error") if isinstance(body, dict) else body
    if isinstance(found, dict):
        return ItemError(str(found.get("type") or ""), str(found.get("reason") or "")).words
    return quoted(found if isinstance(found, bytes) else str(found or error.message).encode())


async def require_supported(client: Client) -> None:
    """Ask the server for its name and version. Raises Refused, or what the client raises."""
    try:
        answer = await client.perform_request("GET", "/", headers={"accept": "application/json"})
    except ApiError as error:
        if error.meta.status == http.HTTPStatus.FORBIDDEN:  # a user of one index alone may not ask
            return
        raise
    try:
        root = msgspec.convert(answer.body, Root)
    except msgspec.ValidationError:
        root = Root()
    major = root.version.number.partition(".")[0]
    if not root.version.number:
        text = quoted(str(answer.body).encode())
        raise Refused(f"expected Elasticsearch {WANTED}, got a server that names no version: {text}")
    if root.version.distribution or major not in map(str, SUPPORTED):
        raise Refused(f"expected Elasticsearch {WANTED}, got {root.named}")
