"""What usually helps against each class of error: declared once, shown by the commands and the docs."""

from __future__ import annotations

from typing import Final

ADVICE: Final[dict[str, dict[str, str]]] = {
    "decode": {
        "empty_value": "The producer wrote a record without a value. Events are never deleted that way: send "
        "transaction.deleted instead.",
        "not_utf8": "The producer encodes its text wrongly, or sends compressed or binary data. Fix it, then correct "
        "the bytes and replay.",
        "invalid_json": "The payload is truncated or not JSON: look for the producer's limit of record size, NaN, or "
        "strings glued together. Correct and replay, or have the producer send it again.",
        "undecodable_record": "The record is damaged, or its producer does not follow Kafka's protocol: the value is "
        "the record as it is stored. Fix the producer and have the event sent again.",
        "undecodable_records": "The batch is damaged, or its producer does not follow Kafka's protocol: the value is "
        "the rest of the batch. Fix the producer and have its events sent again.",
        "cannot_decompress": "The batch is damaged, or its codec is none of gzip, snappy, lz4 and zstd: the value is "
        "the whole batch. Fix the producer and have its events sent again.",
        "unknown_format": "The broker is newer than the indexer, or the batch is damaged: the value is the whole "
        "batch. Upgrade the indexer, and have its events sent again.",
        "batch_too_large": "A few bytes that decompress to very many: a faulty producer, or an attack. If it is a "
        "normal batch, raise KAFKA_MAX_RECORD_BYTES and the memory limit, and have its events sent again.",
        "record_too_large": "Only the beginning of the event is kept here. Have the producer send less, or raise "
        "KAFKA_MAX_RECORD_BYTES and have the event sent again, or copied from its place in the original topic.",
        "nested_too_deep": "Nested beyond what any decoder takes: the producer puts objects into themselves.",
    },
    "validate": {
        "missing_field": "The producer leaves out a required field. When one value fits all, replay with a patch that "
        "adds it; else have the events sent again.",
        "wrong_type": "The producer changed a field's type (a number as a string, an array for an object). Fix it, "
        "and replay with a patch.",
        "empty_field": "The producer sends an empty id or user_id: correct it and replay.",
        "unknown_event_type": "Only transaction.created, .updated and .deleted are events: correct the type and "
        "replay, or keep this producer off the topic.",
        "invalid_timestamp": "Not RFC 3339, such as 2024-01-01T12:00:00Z: correct the format and replay.",
        "timestamp_in_future": "The producer's clock is ahead, or milliseconds were taken for seconds. Correct it and "
        "replay; when the time is right, replay after it: earlier its document would be unchangeable for as long.",
        "timestamp_too_old": "The timestamp is before 1970, mostly 0 or an unset field: correct it and replay.",
        "invalid_id": "The transaction's id holds a NUL character: correct it and replay.",
        "id_too_long": "Elasticsearch takes ids of at most 512 bytes: the producer must choose a shorter one.",
        "amount_not_finite": "No number so large can be stored: correct the amount and replay.",
        "amount_too_long": "More than 256 characters for a number is no amount: correct it and replay.",
        "amount_too_small": "So small a number is no amount: correct it and replay.",
        "duplicate_field": "The event has a name twice: have the producer send it once. Correct and replay.",
        "reserved_field": "Elasticsearch keeps this name for itself, or takes it for a part of another field: have the "
        "producer rename the field; replay with a patch that removes it.",
    },
    "enrich": {
        "enrichment_failed": "A strategy raised: fix the strategy (the message names it) and replay as it is.",
    },
    "index": {
        "document_parsing_exception": "The field does not fit the mapping, or the metadata has a key twice or is "
        "nested too deep: `show` says where. Correct and replay, or fix the mapping and replay as it is.",
        "mapper_parsing_exception": "The field does not fit the mapping: correct and replay, or fix the mapping and "
        "replay as it is.",
        "x_content_parse_exception": "Elasticsearch's parser is stricter than the producer's, mostly about a key that "
        "appears twice: `show` says where. Correct and replay.",
        "illegal_argument_exception": "A value is beyond a limit of Elasticsearch (a term that is too long, too many "
        "fields): correct it, or raise the limit, and replay.",
        "strict_dynamic_mapping_exception": "The index refuses unknown fields, which the indexer's own mapping does "
        "not: set dynamic to false in the mapping and replay as it is.",
        "request_too_large": "The document alone is over http.max_content_length: raise that and replay, or correct.",
        "push_back_never_ends": "The document is too large for the memory that the nodes have for indexing: give them "
        "more heap, or raise indexing_pressure.memory.limit, and replay; or correct it.",
        "too_many_ties": "More than 255 different events of this transaction have one timestamp: correct the "
        "producer's timestamps; the document is that of the latest event that was taken.",
        "unknown_answer": "Something that is not Elasticsearch answered, such as a proxy: fix the way to it, and "
        "replay as it is.",
        "unknown_error": "Elasticsearch gave no reason: look at its log at the time of the failure, then replay.",
    },
    "unknown": {
        "unknown": "No indexer wrote this record: something else writes to the dead-letter topic, or its headers were "
        "lost on the way.",
    },
}
"""By stage and error; index errors are Elasticsearch's own words, and so there are more than these."""

BY_STAGE: Final[dict[str, str]] = {
    "decode": "The payload is not one JSON object: correct it and replay, or have the producer send it again.",
    "validate": "The payload is JSON but no event: the message names the field. Correct it and replay.",
    "enrich": "A strategy raised: fix it and replay as it is.",
    "index": "Elasticsearch refused the document: look the word up in its documentation, fix the mapping or correct "
    "the event, and replay.",
}
HTTP: Final = (
    "Elasticsearch, or a proxy before it, answered with this status again and again: look at their logs, fix what is "
    "wrong there, and replay as it is."
)


def advice(stage: str, error: str) -> str:
    """What usually helps; for classes that are not declared, by the stage."""
    known = ADVICE.get(stage, {}).get(error)
    if known:
        return known
    if stage == "index" and error.startswith("http_"):
        return HTTP
    return BY_STAGE.get(stage, ADVICE["unknown"]["unknown"])
