"""Card numbers in text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.enrichment.card_numbers import is_card_number, without_card_numbers

NUMBERS = [
    "4111111111111111",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "30569309025904",
    "3530111333300000",
    "6011111111111117",
    "6200000000000005",
]

AROUND = st.text(alphabet="0149 -x•", max_size=12)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_card_number_is_masked(number):
    assert without_card_numbers(f"paid with {number}.") == f"paid with •••• {number[-4:]}."


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111.1111.1111.1111",
        "4111 - 1111 - 1111 - 1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "４１１１ １１１１ １１１１ １１１１",  # noqa: RUF001 - full-width digits
    ],
)
def test_a_card_number_is_masked_however_its_digits_are_grouped(text):
    assert without_card_numbers(text) == "•••• 1111"


def test_a_card_number_is_masked_among_other_numbers():
    text = "on 12 5 with 4111 1111 1111 1111 12/27 and 5555555555554444"
    assert without_card_numbers(text) == "on 12 5 with •••• 1111 12/27 and •••• 4444"


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # the check digit is wrong
        "2024-01-01 12:00:00.123",
        "+57 300 123 4567 89",
        "0x4111111111111111ab",
        "bc14111111111111111",
        "12345678901234567890123456789",
    ],
)
def test_other_long_numbers_stay(text):
    assert without_card_numbers(text) == text


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NUMBERS), st.sampled_from("x- ./\n"), AROUND, AROUND)
def test_no_text_around_a_card_number_hides_it(number, glue, before, after):
    text = f"{before} {glue}{number}{glue} {after}"
    assert number not in without_card_numbers(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_masking_twice_is_masking_once(text):
    masked = without_card_numbers(text)
    assert without_card_numbers(masked) == masked


def test_digits_of_a_card_check():
    assert all(map(is_card_number, NUMBERS))
    assert not is_card_number("0" * 16)
