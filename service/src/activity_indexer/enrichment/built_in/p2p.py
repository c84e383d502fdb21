"""Transfers between people: which way the money went, and who is at the other end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from activity_indexer.enrichment.direction import NAMES, Direction, direction_said
from activity_indexer.enrichment.strategy import Enrichment
from activity_indexer.enrichment.vocabulary import Vocabulary
from activity_indexer.event import Transaction

_KEYWORD: Final = {"type": "keyword"}
_VOCABULARY: Final = Vocabulary(
    peer_id="peer_id counterparty_id peer_user_id counterparty_user_id counterpart_id contact_id friend_id"
    " other_user_id peer_account counterparty_account",
    peer_name="peer_name counterparty_name counterparty peer counterpart_name contact_name friend_name other_user_name",
    sender_id="sender_id sender_user_id from_user_id from_id from_user payer_id source_user_id sender_account",
    sender_name="sender_name sender from_name payer_name payer from",
    recipient_id="recipient_id recipient_user_id receiver_id to_user_id to_id to_user payee_id beneficiary_id"
    " destination_user_id recipient_account",
    recipient_name="recipient_name receiver_name recipient receiver to_name payee_name payee"
    " beneficiary_name beneficiary to",
    direction=NAMES,
    note="note notes message memo description comment concept reference reason",
)


class PeerTransfers:
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

    def enrich(self, transaction: Transaction, metadata: Mapping[str, Any]) -> Enrichment:
        """Read what the producer's metadata holds; what cannot be made out is left out."""
        said = _VOCABULARY.read(metadata)
        fields: dict[str, Any] = {}
        direction = _direction(transaction, said)
        if direction:
            fields["direction"] = direction
        counterparty = _counterparty(said, direction)
        if counterparty:
            fields["counterparty"] = counterparty
        return Enrichment(fields, (*counterparty.values(), said.get("note", "")))


def _direction(transaction: Transaction, said: Mapping[str, str]) -> Direction | None:
    direction = direction_said(transaction.transaction_type, said.get("direction"))
    if direction:
        return direction
    user = transaction.user_id
    sent = said.get("sender_id") == user or _only(said, "recipient", "sender")
    received = said.get("recipient_id") == user or _only(said, "sender", "recipient")
    if sent != received:
        return "out" if sent else "in"
    return "out" if bytes(transaction.amount).lstrip().startswith(b"-") else None


def _only(said: Mapping[str, str], role: str, other: str) -> bool:
    return _has(said, role) and not _has(said, other)


def _has(said: Mapping[str, str], role: str) -> bool:
    return f"{role}_id" in said or f"{role}_name" in said


def _counterparty(said: Mapping[str, str], direction: Direction | None) -> dict[str, str]:
    role = {"in": "sender", "out": "recipient"}.get(direction or "", "peer")
    found = {
        "id": said.get("peer_id") or said.get(f"{role}_id"),
        "name": said.get("peer_name") or said.get(f"{role}_name"),
    }
    return {key: value for key, value in found.items() if value}
