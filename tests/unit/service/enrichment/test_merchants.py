"""Merchants, as card networks print them and as users know them."""

from collections import Counter

import pytest

from activity_indexer.enrichment.merchants import merchant_of
from activity_indexer.enrichment.reference import merchant_categories
from activity_indexer.enrichment.reference.merchants import ONLY_ALONE, categories_by_word, known_merchants


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("STARBUCKS #1234 SEATTLE", "Starbucks"),
        ("SQ *BLUE KETTLE COFFEE", "Blue Kettle Coffee"),
        ("TST* THE  TIPSY  OTTER", "The Tipsy Otter"),
        ("PAYPAL *SPOTIFY", "Spotify"),
        ("UBER *TRIP HELP.UBER.COM", "Uber"),
        ("UBER EATS", "Uber Eats"),
        ("AMZN Mktp US*2X4J7", "Amazon"),
        ("METRO*TRANSIT 8844", "Metro Transit"),
        ("MCDONALD'S F12345", "McDonald's"),
        ("PÃO DE AÇÚCAR LOJA 33", "Pão de Açúcar"),
        ("BÄCKEREI ÜBERMUT 0042", "Bäckerei Übermut"),
        ("FARMACIA DEL ÁNGEL", "Farmacia del Ángel"),
        ("CASA NOVA LTDA", "Casa Nova"),
        ("O'REILLY AUTO", "O'Reilly Auto"),
        ("PETROL-ŞENLİK", "Petrol-Şenlik"),
        ("Pier 39", "Pier 39"),
        ("Smørrebrød & Søn", "Smørrebrød & Søn"),
        ("鮨処 みなと", "鮨処 みなと"),
        ("#1234", "#1234"),
    ],
)
def test_a_printed_name_becomes_the_name_that_users_know(printed, name):
    assert merchant_of(printed).name == name


@pytest.mark.parametrize("printed", ["DELTA DENTAL OF OHIO", "Target Practice Club", "GAP YEAR ABROAD", "Oi Mate"])
def test_a_name_that_begins_with_a_brands_word_is_not_the_brand(printed):
    assert merchant_of(printed).name.split()[1:] == [
        word.capitalize() if word != "OF" else "of" for word in printed.split()[1:]
    ]


def test_a_name_once_made_readable_stays_as_it_is():
    for name, _ in known_merchants().values():
        assert merchant_of(name).name == name


def test_a_code_has_one_category():
    codes = Counter(
        code for listed in merchant_categories._CODES.values() for code in merchant_categories._expand(listed)
    )
    assert [code for code, count in codes.items() if count > 1] == []


def test_the_reference_agrees_with_itself():
    categories = set(merchant_categories._CODES)
    assert {category for _, category in known_merchants().values()} <= categories
    assert set(categories_by_word().values()) <= categories
    assert set(merchant_categories._ALIASES.values()) <= categories
    assert known_merchants().keys() >= ONLY_ALONE
