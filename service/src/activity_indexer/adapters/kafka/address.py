"""Where a member of a group serves its facts: it states its HTTP address in what the group keeps of it."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping
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
    process: str = ""


class AddressAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """The client's own round robin, in the order of the members' processes; what a member states goes along with it.

    The client has the members in the order of their ids, which are random. A process is a member of the indexer's group
    and of the audit's: in one order, it has the same partitions in both, and what it has decoded serves both. The
    protocol's name stays, so that all members share a group, and any of them may be the one that assigns.
    """

    def __init__(self, address: HttpAddress, process: str = "") -> None:
        self._data = msgspec.json.encode(_UserData(address, process or f"{socket.gethostname()}/{os.getpid()}"))

    def metadata(self, topics: Iterable[str]) -> Any:
        """What the group keeps of this member."""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), self._data)

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> Any:
        """The partitions of each member."""
        stated = {member: _stated(each.user_data) for member, each in members.items()}
        order = sorted(members, key=lambda member: (each.process if (each := stated[member]) else "", member))
        places = {f"{at:09}": members[member] for at, member in enumerate(order)}
        found = super().assign(cluster, places)
        return {member: found[place] for member, place in zip(order, places, strict=True)}


def _stated(data: bytes | None) -> _UserData | None:
    """None for any other program's data."""
    try:
        return msgspec.json.decode(data or b"", type=_UserData)
    except msgspec.MsgspecError:
        return None


def stated_address(metadata: bytes) -> HttpAddress | None:
    """The address in what the group keeps of a member; None when it states none."""
    try:
        stated = _stated(ConsumerProtocolMemberMetadata.decode(metadata).user_data)
    except Exception:  # noqa: BLE001 - any client may be a member, and its data is its own
        return None
    return stated.http if stated else None
