"""Crypto movements."""

import pytest


@pytest.mark.parametrize(
    "metadata",
    [
        {"asset": "BTC"},
        {"symbol": "btc"},
        {"crypto_currency": "Bitcoin"},
        {"coin": "XBT"},
        {"asset": {"symbol": "BTC", "network": "bitcoin"}},
        {"pair": "BTC/USD"},
        {"asset_name": "bitcoin"},
    ],
)
def test_an_asset_is_known_by_symbol_or_name(enrich, metadata):
    assert enrich("crypto", metadata).fields["asset"] == {"symbol": "BTC", "name": "Bitcoin", "network": "Bitcoin"}


@pytest.mark.parametrize(
    ("written", "network"),
    [("TRC20", "Tron"), ("erc-20", "Ethereum"), ("bsc", "BNB Smart Chain"), ("Our Own Chain", "Our Own Chain")],
)
def test_a_network_is_known_by_the_names_that_wallets_give_it(enrich, written, network):
    asset = enrich("crypto", {"asset": "USDT", "chain": written}).fields["asset"]
    assert asset == {"symbol": "USDT", "name": "Tether", "network": network}


def test_an_asset_that_lives_on_several_networks_has_none_unless_it_is_said(enrich):
    assert enrich("crypto", {"asset": "USDC"}).fields["asset"] == {"symbol": "USDC", "name": "USD Coin"}


def test_an_unknown_asset_is_shown_as_it_came(enrich):
    fields = enrich("crypto", {"asset": "newc", "asset_name": "New Coin"}).fields
    assert fields["asset"] == {"symbol": "NEWC", "name": "New Coin"}


@pytest.mark.parametrize(
    ("metadata", "quantity"),
    [
        (b'{"quantity": "0.123456789012345678"}', "0.123456789012345678"),
        (b'{"quantity": 0.123456789012345678}', "0.123456789012345678"),
        (b'{"crypto_amount": 1e-8}', "0.00000001"),
        (b'{"quantity": "0.50000000"}', "0.50000000"),
        (b'{"quantity": -2.5}', "2.5"),
        (b'{"quantity": 123456789012345678901234567890}', "123456789012345678901234567890"),
        (b'{"quantity": "007.10"}', "7.10"),
        (b'{"satoshis": 150000}', "0.00150000"),
        (b'{"amount_wei": "1000000000000000001"}', "1.000000000000000001"),
    ],
)
def test_the_quantity_keeps_every_digit(enrich, metadata, quantity):
    enriched = enrich("crypto", metadata)
    assert f'"quantity":{quantity},"quantity_text":"{quantity}"' in enriched.text
    assert quantity in enriched.words


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "1e999999", "1,5", "", None, [], "9" * 5000, True, "１"])  # noqa: RUF001
def test_a_quantity_that_is_no_usable_number_is_left_out(enrich, quantity):
    assert not {"quantity", "quantity_text"} & enrich("crypto", {"quantity": quantity}).fields.keys()


def test_an_amount_in_the_asset_itself_is_the_quantity(enrich):
    fields = enrich("crypto", currency="ETH", amount="-1.50").fields
    assert fields["asset"]["symbol"] == "ETH"
    assert fields["quantity_text"] == "1.50"


@pytest.mark.parametrize(
    ("metadata", "direction", "address"),
    [
        ({"side": "buy"}, "in", None),
        ({"side": "SELL", "wallet_address": "0xAb"}, "out", "0xAb"),
        ({"type": "x", "operation": "deposit", "from_address": "0xAb", "to_address": "0xCd"}, "in", "0xAb"),
        ({"action": "withdrawal", "from_address": "0xAb", "to_address": "0xCd"}, "out", "0xCd"),
    ],
)
def test_the_direction_says_which_address_is_at_the_other_end(enrich, metadata, direction, address):
    fields = enrich("crypto", metadata).fields
    assert fields["direction"] == direction
    assert fields.get("counterparty", {}).get("id") == address


def test_users_find_a_movement_by_asset_network_address_and_hash(enrich):
    enriched = enrich(
        "crypto",
        {"asset": "ETH", "asset_name": "Ether", "network": "arbitrum", "to_address": "0xAbC", "tx_hash": "0xFf01"},
    )
    assert enriched.fields["tx_hash"] == "0xFf01"
    assert {"eth", "ethereum", "ether", "arbitrum", "0xabc", "0xff01"} <= set(enriched.words)
