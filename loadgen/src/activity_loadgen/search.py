"""The few questions we ask Elasticsearch, over plain HTTP."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from activity_common import setting_names as names
from activity_loadgen.state import FIELDS, State, state_of

if TYPE_CHECKING:
    import aiohttp

PAGE_SIZE: Final = 1_000
IDS_PER_SEARCH: Final = 5_000
REQUEST_SECONDS: Final = 30.0
MAX_REASON: Final = 300


class SearchError(Exception):
    """Elasticsearch could not be reached, or refused; the message says which and why."""


class SearchSettingError(ValueError):
    """A setting of the connection cannot work; the message names the variable."""


@dataclass(frozen=True, slots=True)
class SearchConnection:
    """Where Elasticsearch is, the alias to look through, and who we are."""

    url: str
    index: str = "transactions"
    username: str | None = None
    password: str | None = None
    api_key: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        """Address and index; never a secret."""
        return f"SearchConnection({self.url!r}, {self.index!r})"


class Hit(msgspec.Struct, frozen=True):
    """A found document; `source` is its exact JSON, empty when it was not asked for."""

    id: str = msgspec.field(name="_id")
    index: str = msgspec.field(name="_index")
    version: int = msgspec.field(name="_version")
    source: msgspec.Raw = msgspec.field(name="_source", default_factory=msgspec.Raw)
    sort: list[Any] = []


class _Hits(msgspec.Struct):
    hits: list[Hit]


class _Answer(msgspec.Struct):
    hits: _Hits


def search_from(environment: Mapping[str, str], url: str | None, index: str) -> SearchConnection:
    """The connection the ELASTICSEARCH_* variables describe.

    Raises:
        SearchSettingError: naming the variable, what it wants and what it got.
    """
    if not url:
        raise SearchSettingError("verifying needs Elasticsearch: set ELASTICSEARCH_URL or pass --elasticsearch-url")
    if not url.startswith(("http://", "https://")):
        raise SearchSettingError(f"ELASTICSEARCH_URL: expected http://host:port or https://host:port, got {url!r}")
    return SearchConnection(
        url=url.rstrip("/"),
        index=index,
        username=environment.get(names.ELASTICSEARCH_USERNAME) or None,
        password=environment.get(names.ELASTICSEARCH_PASSWORD) or None,
        api_key=environment.get(names.ELASTICSEARCH_API_KEY) or None,
        ca_file=environment.get(names.ELASTICSEARCH_CA_FILE) or None,
    )


class SearchIndex:
    """An alias and the indices behind it."""

    def __init__(self, session: "aiohttp.ClientSession", connection: SearchConnection) -> None:
        self._session = session
        self._connection = connection
        self._decode = msgspec.json.Decoder(_Answer).decode

    async def behind_alias(self) -> str:
        """The concrete indices behind the alias as Elasticsearch takes them in a path; the name itself if it is none.

        Raises:
            SearchError: when Elasticsearch cannot be asked.
        """
        status, answer = await self._ask("GET", f"/_alias/{self._connection.index}")
        if status == HTTPStatus.NOT_FOUND:
            return self._connection.index
        return ",".join(sorted(msgspec.json.decode(_good(status, answer), type=dict[str, Any])))

    async def visible(self, ids: Collection[str]) -> dict[str, Hit]:
        """Documents with these ids that a search of the alias shows, without their source."""
        return await self._by_ids(self._connection.index, ids, source=False)

    async def stored(self, index: str, ids: Collection[str]) -> dict[str, Hit]:
        """Documents with these ids in the concrete indices, tombstones too, with their source."""
        return await self._by_ids(index, ids, source=True)

    async def states(self, index: str, ids: Collection[str]) -> dict[str, State]:
        """Which event each of these ids stands for in the concrete indices, tombstones too."""
        found = await self._by_ids(index, ids, source=FIELDS)
        return {key: state_of(hit.version, bytes(hit.source)) for key, hit in found.items()}

    async def of_runs(self, runs: Collection[str]) -> AsyncIterator[list[Hit]]:
        """Pages of the documents that these runs made and the alias shows."""
        query = {"terms": {"metadata.load_run": sorted(runs)}}
        sort = [{"id": {"order": "asc", "unmapped_type": "keyword"}}]
        after: Sequence[Any] | None = None
        while True:
            body = {"query": query, "size": PAGE_SIZE, "sort": sort, "version": True, "track_total_hits": False}
            hits = await self._search(self._connection.index, {**body, "search_after": after} if after else body)
            if hits:
                yield hits
            if len(hits) < PAGE_SIZE:
                return
            after = hits[-1].sort

    async def _by_ids(self, index: str, ids: Collection[str], *, source: bool | Sequence[str]) -> dict[str, Hit]:
        found: dict[str, Hit] = {}
        for part in chunks(list(ids), IDS_PER_SEARCH):
            body = {"query": {"ids": {"values": part}}, "size": len(part), "version": True, "_source": source}
            found |= {hit.id: hit for hit in await self._search(index, body)}
        return found

    async def _search(self, index: str, body: dict[str, Any]) -> list[Hit]:
        status, answer = await self._ask("POST", f"/{index}/_search", body)
        if status == HTTPStatus.NOT_FOUND:
            return []
        return self._decode(_good(status, answer)).hits.hits

    async def _ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = None if body is None else msgspec.json.encode(body)
        from aiohttp import ClientError  # noqa: PLC0415 - as in open_search

        try:
            async with self._session.request(method, self._connection.url + path, data=data) as response:
                return response.status, await response.read()
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise SearchError(f"Elasticsearch at {self._connection.url} does not answer: {reason}") from error


@contextlib.asynccontextmanager
async def open_search(connection: SearchConnection) -> AsyncIterator[SearchIndex]:
    """A client for the connection, closed at the end.

    Raises:
        SearchSettingError: when the CA file cannot be read.
    """
    import aiohttp  # noqa: PLC0415 - a third of the start of a run that only publishes

    headers = {"Content-Type": "application/json"}
    auth = None
    if connection.api_key:
        headers["Authorization"] = f"ApiKey {connection.api_key}"
    elif connection.username:
        auth = aiohttp.BasicAuth(connection.username, connection.password or "")
    connector = aiohttp.TCPConnector(ssl=_trust(connection.ca_file))
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(headers=headers, auth=auth, connector=connector, timeout=timeout) as session:
        yield SearchIndex(session, connection)


def chunks(items: list[str], size: int) -> list[list[str]]:
    """The items in order, at most `size` together."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _trust(ca_file: str | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        wanted = "expected a readable PEM file"
        raise SearchSettingError(f"ELASTICSEARCH_CA_FILE: {wanted}, got {ca_file!r}: {error}") from error


def _good(status: int, answer: bytes) -> bytes:
    if status != HTTPStatus.OK:
        raise SearchError(f"Elasticsearch answered {status}: {answer[:MAX_REASON].decode(errors='replace')}")
    return answer
