"""Transfers between users."""

import pytest


@pytest.mark.parametrize(
    ("metadata", "direction"),
    [
        ({"direction": "sent"}, "out"),
        ({"direction": "RECEIVED"}, "in"),
        ({"transfer_type": "incoming"}, "in"),
        ({"transferDirection": "Outbound"}, "out"),
        ({"direction": "sideways", "sender_name": "Ana"}, "in"),
        ({"recipient_name": "Ana"}, "out"),
        ({"sender_id": "user_1", "recipient_id": "user_2"}, "out"),
        ({"sender_id": "user_2", "recipient_id": "user_1"}, "in"),
        ({"sender_id": "user_2", "recipient_id": "user_3"}, None),
        ({"peer_name": "Ana"}, None),
    ],
)
def test_the_direction_is_seen_from_the_user(enrich, metadata, direction):
    assert enrich("p2p", metadata).fields.get("direction") == direction


@pytest.mark.parametrize(("transaction_type", "direction"), [("p2p_received", "in"), ("P2P-Sent", "out")])
def test_the_type_says_the_direction_when_nothing_else_does(enrich, transaction_type, direction):
    assert enrich(transaction_type, {"peer_name": "Ana"}).fields["direction"] == direction


def test_a_negative_amount_goes_out_when_nothing_else_says(enrich):
    assert enrich("p2p", amount="-5").fields["direction"] == "out"
    assert enrich("p2p", {"direction": "received"}, amount="-5").fields["direction"] == "in"


@pytest.mark.parametrize(
    "metadata",
    [
        {"peer_id": "user_2", "peer_name": "José Núñez"},
        {"counterparty": {"id": "user_2", "name": "José Núñez"}},
        {"direction": "sent", "recipient_id": "user_2", "recipient_name": "José Núñez", "sender_name": "Me"},
        {"direction": "received", "senderId": "user_2", "senderName": "José Núñez", "recipient_name": "Me"},
        {"from_user_id": "user_1", "to_user_id": "user_2", "to_name": "José Núñez"},
    ],
)
def test_the_counterparty_is_the_one_at_the_other_end(enrich, metadata):
    assert enrich("p2p", metadata).fields["counterparty"] == {"id": "user_2", "name": "José Núñez"}


def test_users_find_a_transfer_by_name_and_note(enrich):
    words = enrich("p2p", {"peer_id": "user_2", "peer_name": "José Núñez", "note": "Cena\n del  VIERNES"}).words
    assert {"user_2", "jose", "nunez", "cena", "del", "viernes"} <= set(words)
