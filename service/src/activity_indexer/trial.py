"""A document that is known to be good: it shows whether the index takes documents at all, and is never written."""

from __future__ import annotations

from typing import Final

from activity_indexer.document import live_document
from activity_indexer.errors import EnrichmentError
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.ports import Enriched, Enricher

TRIAL_ID: Final = "activity-indexer.trial"

_ACTION: Final = b'{"index":{"_id":"%b","if_seq_no":%d,"if_primary_term":1}}\n'
_NEVER: Final = 2**53 - 1
"""A sequence number that no document has: the write ends in a version conflict, after the document was parsed."""
_EVENT: Final = (
    b'{"event_type":"transaction.created","timestamp":"2024-01-01T00:00:00Z","source":"trial","transaction":'
    b'{"id":"activity-indexer.trial","user_id":"trial-user","transaction_type":"card","product":"Card",'
    b'"status":"completed","currency":"USD","amount":10.25,"created_at":"2024-01-01T00:00:00Z",'
    b'"metadata":{"merchant_name":"Trial","card_last_four":"1234","nested":{"amount":1.5}}}}'
)
_ANY_TIME: Final = 2**62
_NOT_ENRICHED: Final = Enriched(b"{}", b'"trial"', ran=False)


def trial_document(enricher: Enricher | None = None) -> bytes:
    """The two lines of a bulk request that Elasticsearch parses like any document and answers with a version conflict.

    With an enricher it has the fields that a strategy adds.
    """
    event = decode_event(_EVENT, _ANY_TIME)
    try:
        enriched = enricher(event) if enricher else _NOT_ENRICHED
    except EnrichmentError:
        enriched = _NOT_ENRICHED
    lines = live_document(event, enriched, b"2024-01-01T00:00:00Z")
    return _ACTION % (TRIAL_ID.encode(), _NEVER) + lines.partition(b"\n")[2]
