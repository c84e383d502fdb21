"""A Kafka broker's version: the cluster's metadata version, by a request the client does not have."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

FINALIZED: Final = 2
"""Tag of the features that the whole cluster has agreed on."""

RELEASES: Final = (
    (30, "4.3"),
    (28, "4.2"),
    (26, "4.1"),
    (22, "4.0"),
    (21, "3.9"),
    (20, "3.8"),
    (15, "3.7"),
    (12, "3.6"),
    (9, "3.5"),
)
"""The first metadata version of a release, newest first."""

NEWEST_KNOWN: Final = 30


class _Versions(Response):  # type: ignore[misc]
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_keys", CompactArray(("key", Int16), ("lowest", Int16), ("highest", Int16), ("tags", TaggedFields))),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Versions
    SCHEMA = Schema(("client", CompactString("utf-8")), ("version", CompactString("utf-8")), ("tags", TaggedFields))

    def parse_response_header(self, read_buffer: Any) -> Any:
        """This answer alone has the old header, so that every client can read it."""
        return ResponseHeader_v0.decode(read_buffer)


class VersionsRequest(Request[_Question]):  # type: ignore[misc]
    """ApiVersions, version 3 (Kafka 2.4 and later)."""

    API_KEY = 18

    def build(self, request_struct_class: Any) -> Any:
        """The request on the wire."""
        return request_struct_class(client="activity-indexer", version="1", tags={})


def metadata_version(answer: Any) -> int | None:
    """The level of the feature metadata.version; None where the broker knows no features (before Kafka 3.3)."""
    features = answer.tags.get(FINALIZED)
    if not features:
        return None
    buffer = BytesIO(features)
    for _ in range(UnsignedVarInt32.decode(buffer) - 1):
        name = CompactString("utf-8").decode(buffer)
        level = Int16.decode(buffer)
        Int16.decode(buffer)
        TaggedFields.decode(buffer)
        if name == "metadata.version":
            return int(level)
    return None


def release(level: int | None) -> str:
    """The Kafka release in words; a broker does not say more, and may itself be newer than what its cluster uses."""
    if level is None:
        return "below 3.3, or without KRaft"
    if level > NEWEST_KNOWN:
        return f"4.3 or later (metadata version {level})"
    name = next((name for first, name in RELEASES if level >= first), "below 3.5")
    return f"{name} (metadata version {level})"
