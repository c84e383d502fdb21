"""Which index is written to: one rule for the indexer and for every command that asks."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from elastic_transport import ApiError

from activity_indexer.adapters.elasticsearch.transport import JSON, Client
from activity_indexer.document import CURRENT_SCALE, NOT_DELETED, VERSION_SCALE
from activity_indexer.errors import Refused, Unavailable, UnexpectedIndex

BUILDING: Final = ".building"
"""Suffix of the alias of an index that a reindex is building."""

NOTHING: Final[dict[str, Any]] = {"match_none": {}}
"""The alias' filter on a new index that is written already and not searched yet."""

REINDEX: Final = "build an index as expected with: activity-indexer reindex --from audit (or --from topic)"
_HISTORY: Final = (
    "indices.*.shards.*.routing.primary,"
    "indices.*.shards.*.commit.user_data.history_uuid,"
    "indices.*.shards.*.seq_no.max_seq_no"
)
_UNITS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "micros": 1e-6, "nanos": 1e-9}
_DEFAULTS: Final[dict[str, Any]] = {
    "type": "object",
    "dynamic": True,
    "enabled": True,
    "index": True,
    "doc_values": True,
    "ignore_malformed": False,
    "analyzer": "default",
}
"""Parameters of a field that change what is refused or found, with the default value."""


class AliasMissing(UnexpectedIndex):
    """Nothing has the alias' name."""


@dataclass(frozen=True, slots=True)
class WriteIndex:
    """The index that takes the alias' writes.

    `searched` is the index that searches of the alias see: another one while a reindex is moving the alias.
    """

    name: str
    searched: str
    mappings: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def moving(self) -> bool:
        """Whether a reindex is moving the alias."""
        return self.name != self.searched

    @property
    def has_current_scale(self) -> bool:
        """Whether the versions of the documents are counted as this release counts them."""
        return bool(self.mappings.get("_meta", {}).get(VERSION_SCALE) == CURRENT_SCALE)

    @property
    def uuid(self) -> str:
        """Elasticsearch's own id of the index."""
        return str(self.settings["uuid"])

    @property
    def gc_deletes(self) -> float:
        """How long Elasticsearch remembers the version of a deleted document (seconds)."""
        return _seconds(str(self.settings.get("gc_deletes", "60s")))


@dataclass(frozen=True, slots=True)
class History:
    """What changes when an index goes back in time: the history of its primary shards.

    `shards` has the history's id and the highest sequence number of each primary, by the shard's number.
    """

    shards: Mapping[int, tuple[str, int]]

    @property
    def digest(self) -> str:
        """A short text that stands for the histories' ids."""
        reported = ",".join(f"{number}:{self.shards[number][0]}" for number in sorted(self.shards))
        return hashlib.sha256(reported.encode()).hexdigest()[:12]

    def precedes(self, other: History) -> bool:
        """Whether a shard has fewer operations than in `other`, though its history has the same id."""
        return any(
            uuid == other.shards[number][0] and highest < other.shards[number][1]
            for number, (uuid, highest) in self.shards.items()
            if number in other.shards
        )


class IndexTime:
    """Names an index together with its history, so that what was known of it before it went back in time is forgotten.

    A snapshot that is restored gives the shards new history ids. When files are put back, only the sequence numbers go
    back, which the process that saw the higher ones notices.
    """

    def __init__(self) -> None:
        self._uuid = ""
        self._last: History | None = None
        self._mark = ""

    def identity(self, index: WriteIndex, history: History | None) -> str:
        """The name: the same as long as nothing that was in the index can be missing from it."""
        if index.uuid != self._uuid or history is None:
            self._uuid, self._last, self._mark = index.uuid, None, ""
        if history is None:
            return index.uuid
        if self._last and history.digest != self._last.digest:
            self._mark = ""
        elif self._last and history.precedes(self._last):
            self._mark = f"-{secrets.token_hex(4)}"
        self._last = history
        return f"{index.uuid}-{history.digest}{self._mark}"


async def ask(client: Client, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
    """What Elasticsearch answers to a request in JSON. Raises the client's own errors."""
    headers = {"accept": JSON} if body is None else {"accept": JSON, "content-type": JSON}
    return (await client.perform_request(method, target, headers=headers, body=body)).body


async def find_write_index(client: Client, alias: str, *, any_scale: bool = False) -> WriteIndex:
    """The index behind the alias that is written to; `any_scale` also takes one that an older release has written.

    Raises AliasMissing, UnexpectedIndex with advice when the alias is not as an indexer or a reindex leaves it, and the
    client's own errors.
    """
    try:
        behind = await ask(client, "GET", f"/{alias}")
    except ApiError as error:
        if error.meta.status != 404:
            raise
        raise AliasMissing(
            f"the alias {alias} does not exist: start an indexer, or correct ELASTICSEARCH_INDEX"
        ) from None
    found = the_write_index(alias, behind)
    if (
        not any_scale
        and not found.has_current_scale
        and (await ask(client, "GET", f"/{quote(found.name)}/_count"))["count"]
    ):
        raise UnexpectedIndex(
            f"the documents of {found.name} have versions of an older release, which leave no room for events with the "
            f"same timestamp: stop the indexers of that release, then {REINDEX}"
        )
    return found


def the_write_index(alias: str, behind: Mapping[str, Any]) -> WriteIndex:
    """The rule: one index behind the alias with our filter, or the two of a reindex that is moving it.

    `behind` is Elasticsearch's answer about the alias, by index. Raises UnexpectedIndex with advice.
    """
    entries = {index: state["aliases"].get(alias) for index, state in behind.items()}
    if alias in entries and entries[alias] is None:
        raise UnexpectedIndex(f"{alias} is an index, but must be an alias: reindex it under another name and delete it")
    if None in entries.values():
        raise UnexpectedIndex(
            f"{alias} is a data stream, but must be an alias of one index: choose another ELASTICSEARCH_INDEX"
        )
    for index, entry in entries.items():
        if "index_routing" in entry or "search_routing" in entry:
            raise UnexpectedIndex(
                f"the alias {alias} has a routing on {index}, which sends documents to other shards than their ids do: "
                f"{_again(alias, index)}"
            )
    names = _one(alias, entries) if len(entries) == 1 else _moving(alias, behind, entries)
    written, searched = names
    return WriteIndex(written, searched, behind[written]["mappings"], behind[written]["settings"]["index"])


def _one(alias: str, entries: Mapping[str, Any]) -> tuple[str, str]:
    ((index, entry),) = entries.items()
    if entry.get("is_write_index") is False:
        raise UnexpectedIndex(f"the alias {alias} has no write index (is_write_index): {_again(alias, index)}")
    if not _same_filter(entry.get("filter"), NOT_DELETED):
        raise UnexpectedIndex(
            f"the alias {alias} lacks the filter that hides deleted transactions (on {index}): {_again(alias, index)}"
        )
    return index, index


def _moving(alias: str, behind: Mapping[str, Any], entries: Mapping[str, Any]) -> tuple[str, str]:
    new = [index for index in entries if alias + BUILDING in behind[index]["aliases"]]
    if len(entries) == 2 and len(new) == 1:
        (old,) = set(entries) - set(new)
        as_made = (
            entries[new[0]].get("is_write_index") is True
            and _same_filter(entries[new[0]].get("filter"), NOTHING)
            and entries[old].get("is_write_index") is False
            and _same_filter(entries[old].get("filter"), NOT_DELETED)
        )
        if as_made:
            return new[0], old
    kept, *others = sorted(entries)
    raise UnexpectedIndex(
        f"the alias {alias} stands for {', '.join(sorted(entries))}, but must stand for one index (a rollover, or an "
        f"index that was added): take the alias from all but the right one, such as {kept}: "
        f"{_again(alias, kept, others)}. What was written since the last commit is then written again"
    )


def _again(alias: str, index: str, others: Sequence[str] = ()) -> str:
    """The request that makes the alias as it was."""
    actions: list[dict[str, Any]] = [{"remove": {"index": other, "alias": alias}} for other in others]
    actions.append({"add": {"index": index, "alias": alias, "filter": NOT_DELETED, "is_write_index": True}})
    return f"POST /_aliases {json.dumps({'actions': actions}, separators=(',', ':'))}"


def unlike(found: WriteIndex, wanted: Mapping[str, Any]) -> str:
    """What the index has that an indexer would not make, with advice; empty when it is as expected.

    `wanted` are the mappings of a new index. Fields beside them are allowed, and missing ones can be added.
    """
    pipelines = [
        f"index.{name} is {found.settings[name]}"
        for name in ("default_pipeline", "final_pipeline")
        if found.settings.get(name, "_none") != "_none"
    ]
    if pipelines:
        return (
            f"{found.name} sends documents through an ingest pipeline, which may change or refuse them "
            f"({', '.join(pipelines)}): set it to _none"
        )
    odd = [*_odd_settings(found), *_odd_fields(wanted, found.mappings)]
    return f"{found.name} is not as expected ({'; '.join(odd[:5])}): {REINDEX}" if odd else ""


def _odd_settings(found: WriteIndex) -> Iterator[str]:
    mode = found.settings.get("mode", "standard")
    if mode != "standard":
        yield f"index.mode is {mode}"
    source = found.mappings.get("_source", {})
    kept = found.settings.get("mapping", {}).get("source", {}).get("mode", source.get("mode", "stored"))
    if (
        str(source.get("enabled", True)).lower() == "false"
        or kept != "stored"
        or {"includes", "excludes"} & set(source)
    ):
        yield "_source is not kept as it came"
    if str(found.mappings.get("_routing", {}).get("required", False)).lower() == "true":
        yield "_routing is required"


def _odd_fields(wanted: Mapping[str, Any], found: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Differences of one object's own parameters and of the fields in it."""
    names = ["dynamic"] if not path else list(_DEFAULTS)
    for name in names:
        ours, theirs = (_text(each.get(name, _DEFAULTS[name])) for each in (wanted, found))
        if ours != theirs:
            yield f"{path or 'the mapping'}: {name} is {theirs}, expected {ours}"
            return
    there = found.get("properties", {})
    for field, mapping in wanted.get("properties", {}).items():
        if field in there:
            yield from _odd_fields(mapping, there[field], f"{path}.{field}" if path else field)


async def read_history(client: Client, index: WriteIndex) -> History | None:
    """The history of the index; None when the user may not read it (the privilege `monitor`).

    Raises Unavailable while a primary shard has not started, and the client's own errors.
    """
    try:
        answer = await ask(client, "GET", f"/{quote(index.name)}/_stats/docs?level=shards&filter_path={_HISTORY}")
    except ApiError as error:
        if error.meta.status == 403:
            return None
        if error.message == "index_closed_exception":
            raise Refused(f"the index {index.name} is closed: POST /{index.name}/_open") from None
        raise
    found = answer.get("indices", {}).get(index.name, {}).get("shards", {})
    shards = {
        int(number): (str(copy["commit"]["user_data"]["history_uuid"]), int(copy["seq_no"]["max_seq_no"]))
        for number, copies in found.items()
        for copy in copies
        if copy["routing"]["primary"] and copy.get("commit", {}).get("user_data") and "seq_no" in copy
    }
    missing = int(index.settings["number_of_shards"]) - len(shards)
    if missing:
        raise Unavailable(f"Elasticsearch: {missing} primary shards of {index.name} have not started")
    return History(shards)


def _same_filter(found: Any, wanted: Any) -> bool:
    """Whether two queries are the same: a list of one clause is that clause."""
    return bool(_plain(found) == _plain(wanted))


def _plain(query: Any) -> Any:
    if isinstance(query, Mapping):
        return {name: _plain(part) for name, part in query.items() if (name, part) != ("boost", 1.0)}
    if isinstance(query, list) and len(query) == 1:
        return _plain(query[0])
    return query


def _text(value: Any) -> str:
    return str(value).lower()


def _seconds(text: str) -> float:
    """A time of Elasticsearch in seconds; 0 when it is not understood."""
    found = re.fullmatch(r"(\d+)(d|h|m|s|ms|micros|nanos)", text)
    return int(found[1]) * _UNITS[found[2]] if found else 0.0
