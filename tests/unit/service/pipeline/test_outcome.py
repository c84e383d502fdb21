"""What an answer means: exactly one outcome each."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.pipeline.outcome import (
    Item,
    ItemError,
    Outcome,
    all_done,
    classify_item,
    classify_request,
    current_version,
    pushes_back,
    read_failure,
    read_items,
    same_defect,
)

CONFLICT = "[a]: version conflict, current version [7] is higher or equal to the one provided [5]"
NO_ALIAS = "no such index [t] and [require_alias] request flag is [true] and [t] is not an alias"

ITEMS = [
    (200, "", "", Outcome.DONE),
    (201, "", "", Outcome.DONE),
    (409, "version_conflict_engine_exception", CONFLICT, Outcome.DONE),
    (408, "", "", Outcome.RETRY),
    (429, "es_rejected_execution_exception", "rejected execution", Outcome.RETRY),
    (429, "circuit_breaking_exception", "[parent] Data too large", Outcome.RETRY),
    (429, "cluster_block_exception", "index [t] blocked by: disk usage exceeded flood-stage watermark", Outcome.RETRY),
    (403, "cluster_block_exception", "index [t] blocked by: FORBIDDEN/8/index write (api)", Outcome.RETRY),
    (500, "circuit_breaking_exception", "", Outcome.RETRY),
    (502, "", "", Outcome.RETRY),
    (503, "unavailable_shards_exception", "primary shard is not active", Outcome.RETRY),
    (503, "", "", Outcome.RETRY),
    (504, "", "", Outcome.RETRY),
    (404, "shard_not_found_exception", "no such shard", Outcome.RETRY),
    (500, "node_closed_exception", "", Outcome.RETRY),
    (500, "already_closed_exception", "", Outcome.RETRY),
    (401, "security_exception", "", Outcome.HALT),
    (403, "security_exception", "action is unauthorized", Outcome.HALT),
    (404, "index_not_found_exception", NO_ALIAS, Outcome.HALT),
    (400, "index_closed_exception", "closed", Outcome.HALT),
    (400, "illegal_argument_exception", "no write index is defined for alias [t]", Outcome.HALT),
    (400, "illegal_argument_exception", "pipeline with id [nope] does not exist", Outcome.HALT),
    (400, "routing_missing_exception", "routing is required for [t]/[a]", Outcome.HALT),
    (400, "strict_dynamic_mapping_exception", "[1:9] mapping set to strict, dynamic introduction of [x]", Outcome.HALT),
    (400, "document_parsing_exception", "failed to parse", Outcome.PERMANENT),
    (400, "document_parsing_exception", "Preview of field's value: 'no write index is defined'", Outcome.PERMANENT),
    (400, "illegal_argument_exception", "odd value [pipeline with id [a] does not exist]", Outcome.PERMANENT),
    (400, "mapper_parsing_exception", "failed to parse", Outcome.PERMANENT),
    (400, "illegal_argument_exception", "if _id is specified it must not be empty", Outcome.PERMANENT),
    (413, "", "", Outcome.PERMANENT),
    (409, "something_else_exception", "", Outcome.SUSPECT),
    (500, "null_pointer_exception", "", Outcome.SUSPECT),
    (500, "not_x_content_exception", "", Outcome.SUSPECT),
    (507, "", "", Outcome.SUSPECT),
    (418, "", "", Outcome.SUSPECT),
    (0, "", "", Outcome.SUSPECT),
]


@pytest.mark.parametrize(("status", "kind", "reason", "expected"), ITEMS)
def test_an_item_has_the_outcome(status: int, kind: str, reason: str, expected: Outcome) -> None:
    assert classify_item(Item(status, ItemError(kind, reason))) is expected


NO_VERDICT = (201, 204, 206, 301, 302, 308, 405, 407, 410, 421, 425, 499, 500, 507, 520, 522, 526, 530)
"""Statuses that say nothing about a document unless Elasticsearch says more."""

REQUESTS = [
    (408, "", "", Outcome.RETRY),
    (429, "es_rejected_execution_exception", "", Outcome.RETRY),
    (429, "http_429", "Too Many Requests", Outcome.RETRY),
    (502, "http_502", "<html>", Outcome.RETRY),
    (503, "master_not_discovered_exception", "", Outcome.RETRY),
    (503, "cluster_block_exception", "state not recovered", Outcome.RETRY),
    (504, "http_504", "", Outcome.RETRY),
    (400, "circuit_breaking_exception", "", Outcome.RETRY),
    (401, "security_exception", "missing authentication credentials", Outcome.HALT),
    (403, "security_exception", "", Outcome.HALT),
    (404, "index_not_found_exception", "", Outcome.HALT),
    (404, "resource_not_found_exception", "", Outcome.HALT),
    (404, "http_404", "<html>", Outcome.RETRY),
    (401, "http_401", "sign in", Outcome.HALT),
    (403, "http_403", "forbidden", Outcome.HALT),
    (400, "index_closed_exception", "", Outcome.HALT),
    (413, "http_413", "Request Entity Too Large", Outcome.SPLIT),
    (413, "content_too_long_exception", "", Outcome.SPLIT),
    (400, "illegal_argument_exception", "Malformed action/metadata line [3]", Outcome.BISECT),
    (400, "http_400", "", Outcome.RETRY),
    (400, "illegal_argument_exception", "no write index is defined for alias [t].", Outcome.HALT),
    (400, "illegal_argument_exception", "pipeline with id [nope] does not exist", Outcome.HALT),
    (500, "null_pointer_exception", "", Outcome.SUSPECT),
    *((status, f"http_{status}", "", Outcome.RETRY) for status in NO_VERDICT),
    (201, "null_pointer_exception", "", Outcome.RETRY),
]


@pytest.mark.parametrize(("status", "kind", "reason", "expected"), REQUESTS)
def test_a_request_that_failed_as_a_whole_has_the_outcome(
    status: int, kind: str, reason: str, expected: Outcome
) -> None:
    assert classify_request(status, ItemError(kind, reason)) is expected


@given(st.integers(), st.text(), st.text())
def test_every_answer_has_an_outcome_that_its_reader_knows(status: int, kind: str, reason: str) -> None:
    item = classify_item(Item(status, ItemError(kind, reason)))
    assert item in (Outcome.DONE, Outcome.RETRY, Outcome.HALT, Outcome.SUSPECT, Outcome.PERMANENT)
    request = classify_request(status, ItemError(kind, reason))
    assert request in (Outcome.RETRY, Outcome.HALT, Outcome.SPLIT, Outcome.BISECT, Outcome.SUSPECT)


@given(st.text().filter(lambda kind: "exception" not in kind), st.sampled_from([408, 429, 502, 503, 504]))
def test_push_back_and_outages_never_cost_a_document(kind: str, status: int) -> None:
    assert classify_item(Item(status, ItemError(kind))) is Outcome.RETRY
    assert classify_request(status, ItemError(kind)) is Outcome.RETRY


def test_all_is_done_when_the_answer_says_so() -> None:
    assert all_done(b'{"took":1,"errors":false,"items":[{"index":{"status":201}}]}', 1)
    assert all_done(b'{"took":1,"errors":false,"items":[{"index":{"status":201}},{"index":{"status":200}}]}', 2)
    assert not all_done(b'{"errors":true,"items":[]}', 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"<html>",
        b'{"errors":"no"}',
        b'{"errors":false',
        b"[]",
        b'{"errors":false}',
        b'{"errors":false,"items":[]}',
        b'{"errors":false,"items":[{"index":{"status":201}},{"index":{"status":201}}]}',
    ],
)
def test_an_answer_that_is_none_is_no_success(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        all_done(body, 1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, b"", True),
        (503, b"", True),
        (200, b'{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":429,"error":{}}}]}', True),
        (200, b'{"errors":true,"items":[{"index":{"status":409,"error":{"reason":"\\"status\\":429"}}}]}', False),
        (200, b'{"errors":false}', False),
        (500, b"", False),
    ],
)
def test_push_back_is_seen_in_the_whole_and_in_the_items(status: int, body: bytes, expected: bool) -> None:
    assert pushes_back(status, body) is expected


def test_items_are_read_in_order_with_their_errors() -> None:
    body = {
        "errors": True,
        "items": [
            {"index": {"status": 201, "_id": "a"}},
            {"index": {"status": 400, "error": {"type": "t", "reason": "r", "caused_by": {"type": "x"}}}},
            {"index": {"status": 500, "error": {"type": "null_pointer_exception", "reason": None}}},
        ],
    }
    assert read_items(json.dumps(body).encode(), 3) == [
        Item(201),
        Item(400, ItemError("t", "r")),
        Item(500, ItemError("null_pointer_exception")),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"errors":true,"items":[{"create":{"status":201}}]}',
        b'{"items":[]}',
        b"\xff",
        b'{"errors":true,"items":[]}',
        b'{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":400}}]}',
    ],
)
def test_items_of_another_form_are_not_guessed(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_items(body, 1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error":{"type":"t","reason":"r","root_cause":[]},"status":400}', ItemError("t", "r")),
        (500, b'{"error":{"type":"t","reason":null}}', ItemError("t")),
        (404, b'{"error":"no handler found"}', ItemError("http_404", "no handler found")),
        (413, b"<html>413</html>", ItemError("http_413", "413")),
        (
            502,
            b"<html><head><style>p{}</style></head><body><h1>Bad\n Gateway</h1><p>nginx",
            ItemError("http_502", "Bad Gateway nginx"),
        ),
        (400, b'{"error":{"reason":"no type"}}', ItemError("http_400", "no type")),
        (502, b"", ItemError("http_502")),
        (502, b"\xff", ItemError("http_502", "\ufffd")),
        (500, b"{}", ItemError("http_500")),
        (500, b"x" * 1000, ItemError("http_500", "x" * 199 + "…")),
    ],
)
def test_a_failure_is_reported_in_the_servers_words(status: int, body: bytes, expected: ItemError) -> None:
    assert read_failure(status, body) == expected


def test_nested_garbage_is_quoted_in_part() -> None:
    found = read_failure(500, b'{"error":' * 100_000)
    assert found.type == "http_500"
    assert len(found.reason) == 200


@pytest.mark.parametrize(("reason", "version"), [(CONFLICT, 7), ("odd", None)])
def test_a_conflict_says_the_documents_version(reason: str, version: int | None) -> None:
    assert current_version(Item(409, ItemError("version_conflict_engine_exception", reason))) == version


def parsing(field: str) -> ItemError:
    return ItemError(
        "document_parsing_exception", f"[1:9] failed to parse field [{field}] of type [integer] in document"
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (parsing("user_id"), parsing("user_id"), True),
        (parsing("user_id"), parsing("amount"), False),
        (parsing("user_id"), ItemError("mapper_exception", "failed to parse field [user_id]"), False),
        (ItemError("a", "x"), ItemError("a", "y"), True),
    ],
)
def test_two_refusals_are_of_one_defect_by_type_and_field(one: ItemError, other: ItemError, expected: bool) -> None:
    assert same_defect(one, other) is expected
