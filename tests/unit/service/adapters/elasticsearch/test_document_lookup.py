"""A lookup believes only the index that takes the writes."""

import pytest

from activity_indexer.adapters.elasticsearch.document_lookup import found_documents
from activity_indexer.errors import Unavailable
from activity_indexer.ports import BulkReply

MISSING = b'{"items":[{"update":{"_index":"t-000002","status":404,"error":{"type":"document_missing_exception"}}}]}'
FOUND = b'{"items":[{"update":{"_index":"t-000001","status":200,"_version":7,"get":{"_source":{"id":"a"}}}}]}'


def test_a_document_that_exists_is_given_with_its_version() -> None:
    assert found_documents(["a"], BulkReply(200, FOUND), "t-000001")["a"].version == 7


def test_a_document_that_another_index_lacks_is_not_called_missing() -> None:
    assert found_documents(["a"], BulkReply(200, MISSING), "t-000002") == {}
    with pytest.raises(Unavailable, match="expected documents of index t-000001, got those of t-000002"):
        found_documents(["a"], BulkReply(200, MISSING), "t-000001")
