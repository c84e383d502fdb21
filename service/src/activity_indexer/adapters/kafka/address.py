"""Where a member of a group serves its facts: it states its HTTP address in what the group keeps of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import msgspec
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata


class HttpAddress(msgspec.Struct, frozen=True):
    """Where a member listens; an empty host stands for the address that the broker sees it at."""

    host: str
    port: int

    def url(self, seen_at: str) -> str:
        """The base URL of a member that the broker sees at this host."""
        host = self.host or seen_at
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def http_address(host: str, port: int) -> HttpAddress:
    """The address as others can use it: a listener on all interfaces names none of them."""
    try:
        return HttpAddress("" if ipaddress.ip_address(host).is_unspecified else host, port)
    except ValueError:  # a name, or nothing
        return HttpAddress(host, port)


class _UserData(msgspec.Struct, frozen=True):
    http: HttpAddress


class AddressAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """The client's own round robin; this member's HTTP address goes along with its subscription.

    The protocol's name stays, so that members with and without an address share a group.
    """

    def __init__(self, address: HttpAddress) -> None:
        self._data = msgspec.json.encode(_UserData(address))

    def metadata(self, topics: Iterable[str]) -> Any:
        """What the group keeps of this member."""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._data)


def stated_address(metadata: bytes) -> HttpAddress | None:
    """The address in what the group keeps of a member; None when it states none."""
    try:
        return msgspec.json.decode(
            ConsumerProtocolMemberMetadata.decode(metadata).user_data or b"", type=_UserData
        ).http
    except Exception:  # noqa: BLE001 - any client may be a member, and its data is its own
        return None
