"""Transfers between users: which way the money went, and who is at the other end."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw

from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text
from activity_indexer.enrichment.direction import NAMES, direction_said
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary

_KEYWORD: Final = {"type": "keyword"}


def _way(
    transaction_type: str,
    user_id: str,
    amount: Raw,
    direction: str,
    sender_id: str,
    sender_name: str,
    recipient_id: str,
    recipient_name: str,
) -> str:
    way = direction_said(transaction_type, direction)
    if way is not None:
        return way
    sent = recipient_id or recipient_name
    received = sender_id or sender_name
    was_sent = sender_id == user_id or bool(sent and not received)
    was_received = recipient_id == user_id or bool(received and not sent)
    if was_sent != was_received:
        return "out" if was_sent else "in"
    return "out" if bytes(amount).lstrip().startswith(b"-") else ""


def _transfer(
    way: str,
    peer_id: str,
    peer_name: str,
    sender_id: str,
    sender_name: str,
    recipient_id: str,
    recipient_name: str,
) -> Enrichment:
    fields: dict[str, Any] = {}
    if way:
        fields["direction"] = way
    if way == "in":
        peer_id, peer_name = peer_id or sender_id, peer_name or sender_name
    elif way == "out":
        peer_id, peer_name = peer_id or recipient_id, peer_name or recipient_name
    if peer_id:
        fields["counterparty"] = {"id": peer_id, "name": peer_name} if peer_name else {"id": peer_id}
    elif peer_name:
        fields["counterparty"] = {"name": peer_name}
    return Enrichment(fields, (peer_id, peer_name))


class PeerTransfers(DeclaredStrategy):
    """`direction` and `counterparty.{id, name}`, as far as they are known."""

    name = "p2p"
    transaction_types = frozenset(
        {
            "p2p",
            "p2p_transfer",
            "p2p_payment",
            "p2p_send",
            "p2p_sent",
            "p2p_receive",
            "p2p_received",
            "p2p_in",
            "p2p_out",
        }
        | {"peer_to_peer", "peer_transfer", "transfer", "transfer_in", "transfer_out"}
    )
    properties: Mapping[str, Any] = {
        "direction": _KEYWORD,
        "counterparty": {"properties": {"id": _KEYWORD, "name": _KEYWORD}},
    }
    vocabulary = Vocabulary(
        peer_id="peer_id counterparty_id peer_user_id counterparty_user_id counterpart_id contact_id friend_id"
        " other_user_id peer_account counterparty_account",
        peer_name="peer_name counterparty_name counterparty peer counterpart_name contact_name friend_name"
        " other_user_name",
        sender_id="sender_id sender_user_id from_user_id from_id from_user payer_id source_user_id sender_account",
        sender_name="sender_name sender from_name payer_name payer from",
        recipient_id="recipient_id recipient_user_id receiver_id to_user_id to_id to_user payee_id beneficiary_id"
        " destination_user_id recipient_account",
        recipient_name="recipient_name receiver_name recipient receiver to_name payee_name payee"
        " beneficiary_name beneficiary to",
        direction=NAMES,
        note="note notes message memo description comment concept reference reason",
    )
    derived = MappingProxyType({"way": _way})
    parts = (
        Part(
            _transfer,
            adds=("direction", "counterparty"),
            copies=("peer_id", "peer_name", "sender_id", "sender_name", "recipient_id", "recipient_name"),
        ),
        Text("note"),
    )
