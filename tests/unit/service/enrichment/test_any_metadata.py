"""Whatever the metadata holds, the built-in strategies neither raise nor break the document."""

import json
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.document import encode
from activity_indexer.enrichment.built_in.card import CardPayments
from activity_indexer.enrichment.built_in.crypto import CryptoMovements
from activity_indexer.enrichment.built_in.p2p import PeerTransfers
from activity_indexer.enrichment.search_content import MAX_CHARACTERS
from activity_indexer.enrichment.text import KEYWORD_CHARACTERS

TYPES = ["card", "p2p", "crypto", "crypto_sell", "p2p_received", "loyalty"]
NAMES = {name for each in (CardPayments, PeerTransfers, CryptoMovements) for name in each.vocabulary._places}
KEYS = sorted(NAMES | {"merchant", "card", "asset", "counterparty", "other"})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**30, max_value=10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["sent", "BTC", "5814", "4111111111111111", "STARBUCKS #12", "1e9", "-0", "\u202e", "x" * 5000])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
METADATA = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=8)


def fits(fields, properties):
    """Whether each value is of the kind that its field is mapped to."""
    for name, value in fields.items():
        mapped = properties[name]
        if "properties" in mapped:
            assert isinstance(value, dict)
            assert value, f"{name} is empty"
            fits(value, mapped["properties"])
        elif mapped["type"] == "double":
            assert isinstance(value, int | float)
            assert math.isfinite(value)
        else:
            assert isinstance(value, str)
            assert 0 < len(value) <= KEYWORD_CHARACTERS


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(TYPES), METADATA)
def test_no_metadata_raises_and_every_field_fits_its_mapping(registry, enrich, transaction_type, metadata):
    enriched = enrich(transaction_type, metadata)
    fits(enriched.fields, registry.properties)
    assert "\n" not in enriched.text
    assert len(enriched.content) <= MAX_CHARACTERS
    assert msgspec.json.decode(encode(enriched.content)) == enriched.content


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TYPES), st.sampled_from(KEYS), st.integers(0, 10**6), st.binary(max_size=40))
def test_metadata_that_does_not_decode_as_a_whole_is_read_as_far_as_it_does(
    enrich, transaction_type, key, number, junk
):
    metadata = b'{"huge":1%b,"%b":%d}' % (b"0" * 5000, key.encode(), number)
    assert enrich(transaction_type, metadata).text == enrich(transaction_type, {key: number}).text
    enrich(transaction_type, junk)


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"null",
        b"[]",
        b'{"quantity":1e99999999999999999999}',
        b'{"note":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"merchant_name":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"merchant":' * 20_000 + b"1" + b"}" * 20_000,
        json.dumps({f"key{number}": number for number in range(5000)}).encode(),
        json.dumps({"merchant_name": "x" * 40_000, "note": "4 " * 20_000}).encode(),
    ],
)
@pytest.mark.parametrize("transaction_type", ["card", "p2p", "crypto"])
def test_hostile_metadata_is_left_out(enrich, transaction_type, metadata):
    assert enrich(transaction_type, metadata).ran


@pytest.mark.parametrize("transaction_type", ["card", "p2p", "crypto"])
@pytest.mark.parametrize("value", ["4111 1111 1111 1111", 4111111111111111, "Visa 5555555555554444 exp 12/27"])
def test_no_field_of_the_metadata_lets_a_card_number_through(enrich, transaction_type, value):
    for key in KEYS:
        for metadata in ({key: value}, {key: {"name": value, "id": value, "number": value}}):
            enriched = enrich(transaction_type, metadata)
            shown = "".join(character for character in enriched.text + enriched.content if character.isalnum())
            assert "4111111111111111" not in shown, key
            assert "5555555555554444" not in shown, key
