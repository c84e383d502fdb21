"""Card payments."""

import pytest

CARD_NUMBER = "4111111111111111"


def test_the_guides_example_is_enriched(enrich):
    fields = enrich("card", {"merchant_name": "Starbucks", "card_last_four": "1234"}).fields
    assert fields["merchant"] == {"name": "Starbucks", "category": "fast_food"}
    assert fields["card"] == {"masked": "•••• 1234", "last_four": "1234"}


@pytest.mark.parametrize("transaction_type", ["card", "CARD", "Card Payment", "card-payment", " card_refund "])
def test_the_type_matches_however_it_is_written(enrich, transaction_type):
    assert enrich(transaction_type, {"merchant_name": "Starbucks"}).ran


@pytest.mark.parametrize(
    "metadata",
    [
        {"merchant_name": "STARBUCKS #1234 SEATTLE"},
        {"merchantName": "STARBUCKS #1234 SEATTLE"},
        {"merchant": "STARBUCKS #1234 SEATTLE"},
        {"merchant": {"name": "STARBUCKS #1234 SEATTLE"}},
        {"merchant": "Someone else", "merchant_name": "STARBUCKS #1234 SEATTLE"},
        {"merchant_name": "STARBUCKS #1234 SEATTLE", "merchant": "Someone else"},
        {"merchant_name": None, "merchant": "STARBUCKS #1234 SEATTLE"},
    ],
)
def test_a_merchant_is_found_under_the_names_producers_use(enrich, metadata):
    assert enrich("card", metadata).fields["merchant"]["name"] == "Starbucks"


@pytest.mark.parametrize(
    ("metadata", "category"),
    [
        ({"mcc": "5411", "merchant_name": "Starbucks"}, "groceries"),
        ({"merchant_category_code": 5411}, "groceries"),
        ({"merchant": {"mcc": "5411"}}, "groceries"),
        ({"merchant_category": "5411"}, "groceries"),
        ({"mcc": 742}, "health"),
        ({"mcc": "9999", "merchant_category": "Food & Drink"}, "restaurants"),
        ({"merchant_category": "Model Trains", "merchant_name": "Starbucks"}, "model_trains"),
        ({"mcc": "none", "merchant_name": "Farmacia Norte"}, "pharmacies"),
    ],
)
def test_the_category_comes_from_the_code_then_the_producer_then_the_name(enrich, metadata, category):
    assert enrich("card", metadata).fields["merchant"]["category"] == category


@pytest.mark.parametrize(
    "metadata",
    [
        {"card_last_four": "0042"},
        {"card_last_four": 42},
        {"last4": "0042"},
        {"cardLast4": "0042"},
        {"card": {"last_four": "0042", "brand": "visa"}},
        {"card_number": "5500 0000 0000 0042"},
        {"card_number": "411111******0042"},
        {"masked_pan": "**** **** **** 0042"},
    ],
)
def test_a_card_is_shown_by_its_last_four_digits(enrich, metadata):
    card = enrich("card", metadata).fields["card"]
    assert (card["masked"], card["last_four"]) == ("•••• 0042", "0042")


@pytest.mark.parametrize(
    ("metadata", "network"),
    [
        ({"card_network": "MASTERCARD"}, "Mastercard"),
        ({"card_brand": "amex"}, "American Express"),
        ({"card_scheme": "Local Club"}, "Local Club"),
        ({"card_number": CARD_NUMBER}, "Visa"),
        ({"card_number": "5500-00**-****-0042"}, "Mastercard"),
        ({"card_bin": "353011"}, "JCB"),
    ],
)
def test_the_network_is_named_or_reported_by_the_first_digits(enrich, metadata, network):
    assert enrich("card", metadata).fields["card"]["network"] == network


def test_the_last_four_digits_alone_do_not_say_the_network(enrich):
    assert "network" not in enrich("card", {"card_number": "4111"}).fields["card"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"card_number": CARD_NUMBER},
        {"card_number": int(CARD_NUMBER)},
        {"pan": "4111 1111 1111 1111"},
        {"card": {"number": CARD_NUMBER}},
        {"card_last_four": CARD_NUMBER},
        {"merchant_name": f"Paid with {CARD_NUMBER}"},
        {"note": "my card 4111-1111-1111-1111 12/27 123"},
        {"card_network": CARD_NUMBER},
        {"merchant_category": CARD_NUMBER},
        {"note": "4111\u200b1111\u200b1111\u200b1111"},
    ],
)
def test_a_whole_card_number_goes_nowhere(enrich, metadata):
    enriched = enrich("card", metadata)
    for shown in (enriched.text, enriched.content):
        assert CARD_NUMBER not in "".join(character for character in shown if character.isalnum())


@pytest.mark.parametrize(
    ("transaction_type", "metadata", "direction"),
    [("card_refund", {}, "in"), ("card", {"direction": "credit"}, "in"), ("card", {}, None)],
)
def test_a_refund_comes_in(enrich, transaction_type, metadata, direction):
    assert enrich(transaction_type, metadata).fields.get("direction") == direction


def test_users_find_a_payment_by_what_they_remember(enrich):
    content = enrich(
        "card",
        {"merchant_name": "STARBUCKS #1234 SEATTLE", "card_last_four": "4321", "network": "visa", "note": "Con MAMÁ"},
    ).content
    assert content == (
        "tx-1 user_1 card completed usd 100.50 2024-01-01 starbucks #1234 seattle fast food visa 4321 con mama"
    )
