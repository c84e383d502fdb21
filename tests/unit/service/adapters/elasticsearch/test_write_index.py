"""Which index is written to, and whether it is as an indexer makes it."""

from typing import Any

import pytest

from activity_indexer.adapters.elasticsearch.write_index import History, IndexTime, WriteIndex, the_write_index, unlike
from activity_indexer.document import NOT_DELETED, VERSION_SCALE, mappings
from activity_indexer.errors import UnexpectedIndex

ALIAS = "t"
OURS: dict[str, Any] = {"filter": NOT_DELETED, "is_write_index": True}
ENRICHMENT = {"day": {"type": "date"}, "place": {"properties": {"city": {"type": "keyword"}}}}


def index(alias: Any = OURS, *, building: bool = False, **more: Any) -> dict[str, Any]:
    """An index as Elasticsearch shows it."""
    aliases = {} if alias is None else {ALIAS: alias}
    if building:
        aliases["t.building"] = {}
    return {
        "aliases": aliases,
        "mappings": mappings(ENRICHMENT) | more.pop("mappings", {}),
        "settings": {"index": {"uuid": "u1", "number_of_shards": "1", **more}},
    }


def found(**more: Any) -> WriteIndex:
    return the_write_index(ALIAS, {"t-000001": index(**more)})


def refusal(behind: dict[str, Any]) -> str:
    with pytest.raises(UnexpectedIndex) as caught:
        the_write_index(ALIAS, behind)
    return str(caught.value)


def test_one_index_with_our_alias_is_written_and_searched() -> None:
    one = found()
    assert (one.name, one.searched, one.moving, one.uuid) == ("t-000001", "t-000001", False, "u1")
    assert unlike(one, mappings(ENRICHMENT)) == ""


@pytest.mark.parametrize(("meta", "current"), [({}, False), ({VERSION_SCALE: 1}, False), ({VERSION_SCALE: 2}, True)])
def test_an_index_says_how_its_versions_are_counted(meta: dict[str, int], current: bool) -> None:
    assert found(mappings={"_meta": meta}).has_current_scale is current
    assert found().has_current_scale


@pytest.mark.parametrize(
    "entry",
    [
        {"filter": NOT_DELETED},
        {"filter": {"bool": {"must_not": [{"exists": {"field": "_deleted_at"}}]}}, "is_write_index": True},
        {"filter": {"bool": {"must_not": [{"exists": {"field": "_deleted_at", "boost": 1.0}}]}}, "is_hidden": True},
    ],
)
def test_another_spelling_of_our_alias_is_our_alias(entry: Any) -> None:
    assert the_write_index(ALIAS, {"t-000001": index(entry)}).name == "t-000001"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"is_write_index": True}, "lacks the filter"),
        ({"filter": {"match_all": {}}, "is_write_index": True}, "lacks the filter"),
        ({**OURS, "is_write_index": False}, "has no write index"),
        ({**OURS, "index_routing": "r"}, "has a routing"),
        ({**OURS, "search_routing": "r"}, "has a routing"),
    ],
)
def test_another_alias_is_refused_with_the_request_that_corrects_it(entry: Any, reason: str) -> None:
    text = refusal({"t-000001": index(entry)})
    assert reason in text
    assert 'POST /_aliases {"actions":[{"add":{"index":"t-000001","alias":"t","filter":{"bool"' in text


def test_a_second_index_is_refused_whichever_is_written() -> None:
    text = refusal({"t-000002": index({"is_write_index": True}), "t-000001": index({"is_write_index": False})})
    assert "stands for t-000001, t-000002" in text
    assert '[{"remove":{"index":"t-000002","alias":"t"}},{"add":{"index":"t-000001"' in text
    assert "written again" in text


def test_an_index_or_a_data_stream_in_place_of_the_alias_is_refused() -> None:
    assert "must be an alias" in refusal({ALIAS: index(None)})
    assert "data stream" in refusal({".ds-t-000001": index(None)})


MOVING = {
    "t-000001": index({"filter": NOT_DELETED, "is_write_index": False}),
    "t-000002": index({"filter": {"match_none": {}}, "is_write_index": True}, building=True),
}


def test_a_reindex_that_moves_the_alias_is_known() -> None:
    one = the_write_index(ALIAS, MOVING)
    assert (one.name, one.searched, one.moving) == ("t-000002", "t-000001", True)


@pytest.mark.parametrize(
    "change",
    [
        {"t-000002": index({"filter": {"match_none": {}}, "is_write_index": True})},
        {"t-000002": index({"filter": NOT_DELETED, "is_write_index": True}, building=True)},
        {"t-000002": index({"filter": {"match_none": {}}, "is_write_index": False}, building=True)},
        {"t-000001": index({"is_write_index": False})},
        {"t-000003": index()},
    ],
)
def test_what_only_looks_like_a_reindex_is_refused(change: Any) -> None:
    assert "must stand for one index" in refusal(MOVING | change)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"default_pipeline": "p"}, "index.default_pipeline is p"),
        ({"final_pipeline": "p"}, "index.final_pipeline is p"),
        ({"mode": "logsdb"}, "index.mode is logsdb"),
        ({"mapping": {"source": {"mode": "synthetic"}}}, "_source is not kept"),
        ({"mappings": {"_source": {"enabled": False}}}, "_source is not kept"),
        ({"mappings": {"_source": {"excludes": ["metadata"]}}}, "_source is not kept"),
        ({"mappings": {"_routing": {"required": True}}}, "_routing is required"),
        ({"mappings": {"dynamic": "strict"}}, "the mapping: dynamic is strict, expected false"),
        ({"mappings": {"dynamic": "true"}}, "dynamic is true"),
    ],
)
def test_settings_that_change_or_refuse_documents_are_named(more: Any, reason: str) -> None:
    assert reason in unlike(found(**more), mappings(ENRICHMENT))


@pytest.mark.parametrize(
    ("field", "mapping", "reason"),
    [
        ("user_id", {"type": "integer"}, "user_id: type is integer, expected keyword"),
        ("created_at", {"type": "date"}, "created_at: ignore_malformed is false, expected true"),
        ("amount", {"type": "double", "index": False}, "amount: index is false"),
        ("search_content", {"type": "text"}, "search_content: analyzer is default, expected folded"),
        ("enrichment", {"type": "flattened"}, "enrichment: type is flattened"),
        ("enrichment", {"dynamic": "strict"}, "enrichment: dynamic is strict"),
        (
            "enrichment",
            {"dynamic": "false", "properties": {"place": {"properties": {"city": {"type": "text"}}}}},
            "enrichment.place.city: type is text, expected keyword",
        ),
    ],
)
def test_a_field_that_is_mapped_another_way_is_named_with_the_way_out(field: str, mapping: Any, reason: str) -> None:
    properties = mappings(ENRICHMENT)["properties"] | {field: mapping}
    text = unlike(found(mappings={"properties": properties}), mappings(ENRICHMENT))
    assert reason in text
    assert "activity-indexer reindex" in text


def test_fields_beside_ours_and_missing_ones_are_no_difference() -> None:
    properties = mappings(ENRICHMENT)["properties"] | {"notes": {"type": "text"}}
    del properties["status"]
    properties["id"] = properties["id"] | {"fields": {"text": {"type": "text"}}}
    more = {"default_pipeline": "_none", "mappings": {"dynamic": "false", "properties": properties}}
    assert unlike(found(**more), mappings(ENRICHMENT)) == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 60.0), ("5m", 300.0), ("500ms", 0.5), ("0", 0.0), ("-1", 0.0), ("0s", 0.0)]
)
def test_how_long_deletions_are_remembered_is_the_indexs_setting(text: str | None, seconds: float) -> None:
    assert found(**({"gc_deletes": text} if text else {})).gc_deletes == seconds


def history(*shards: tuple[str, int]) -> History:
    return History(dict(enumerate(shards)))


def test_an_index_keeps_its_identity_while_it_grows() -> None:
    time = IndexTime()
    first = time.identity(found(), history(("a", 5), ("b", 0)))
    assert first.startswith("u1-")
    assert time.identity(found(), history(("a", 9), ("b", 0))) == first
    assert IndexTime().identity(found(), history(("a", 9), ("b", 4))) == first, "the same for every indexer"


@pytest.mark.parametrize(
    "later", [history(("a", 5), ("c", 7)), history(("a", 4), ("b", 7))], ids=["another history", "fewer operations"]
)
def test_an_index_that_went_back_in_time_is_another(later: History) -> None:
    time = IndexTime()
    first = time.identity(found(), history(("a", 5), ("b", 7)))
    second = time.identity(found(), later)
    assert second != first
    assert time.identity(found(), later) == second


def test_another_index_is_another_identity_and_without_a_history_its_id_is_all_there_is() -> None:
    time = IndexTime()
    first = time.identity(found(), history(("a", 5)))
    assert time.identity(found(uuid="u2"), history(("a", 1))) != first
    assert time.identity(found(), None) == "u1"
