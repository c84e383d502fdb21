"""The searchable content: folded, each word once, bounded."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.enrichment.search_content import MAX_CHARACTERS, search_content
from activity_indexer.enrichment.text import clean, fold, plain_words

ANYTHING = st.text(max_size=60)
LETTERS = "abcxyz àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿßāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįıĵķłńňōőœŕřśşšţťũūŭůűŵŷźżž"
LATIN = st.text(alphabet=LETTERS, max_size=60)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Café CRÈME", "cafe creme"),
        ("Straße STRASSE", "strasse"),
        ("Ærø Łódź Đorđe Þór œuvre", "aero lodz dorde thor oeuvre"),
        ("İstanbul ISPARTA \u0131l\u0131k", "istanbul isparta ilik"),
        ("ﬁn ＡＢＣ １２", "fin abc 12"),  # noqa: RUF001 - compatibility forms
        ("one\t two\r\n\x00three\u2028four", "one two three four"),
        ("to\u200bge\u00adther \u202eright", "together right"),
        ("again Again AGAIN other", "again other"),
        ("", ""),
    ],
)
def test_case_accents_and_invisible_characters_are_folded(text, folded):
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ёлочка", "елочка ёлочка"),
        ("ΑΘΉΝΑ", "αθηνα αθήνα"),
        ("東京 한국 ガス", "東京 한국 ガス"),
        ("أحمد", "احمد أحمد"),
    ],
)
def test_words_that_elasticsearch_does_not_fold_are_found_with_and_without_accents(text, folded):
    assert fold(text) == folded


CHEROKEE = re.compile("[\u13a0-\u13fd\uab70-\uabbf]")
"""Unicode folds it to capitals, alone of all scripts, and what is folded is made small here."""


@settings(max_examples=60, deadline=None)
@given(ANYTHING.filter(lambda text: not CHEROKEE.search(text)))
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)


def test_a_word_of_cherokee_is_found_as_it_was_written_and_in_small_letters():
    assert fold("\u13a0\u13b9") == "\u13a0\u13b9 \uab70\uab89"


@settings(max_examples=60, deadline=None)
@given(ANYTHING)
def test_folded_text_has_each_word_once_and_nothing_invisible(text):
    words = fold(text).split(" ") if fold(text) else []
    assert len(set(words)) == len(words)
    assert not [character for character in fold(text) if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl")]


@settings(max_examples=60, deadline=None)
@given(LATIN)
def test_latin_text_folds_to_ascii_whatever_its_case(text):
    assert fold(text).isascii()
    assert fold(text.upper()) == fold(text)
    assert plain_words(text.upper()) == plain_words(text)


@settings(max_examples=60, deadline=None)
@given(ANYTHING, st.integers(20, 40))
def test_clean_text_is_one_bounded_line(text, limit):
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()


def test_it_holds_what_every_transaction_has(enrich):
    assert enrich("loyalty", product="Gold Card", amount="-5.00").content == (
        "tx-1 user_1 loyalty gold card completed usd -5.00 2024-01-01"
    )


def test_it_is_at_most_4096_characters_and_ends_with_a_whole_word(event):
    transaction = event("card").transaction
    content = search_content(transaction, [f"word{number}" for number in range(5000)], "2024-01-01")
    assert MAX_CHARACTERS - 20 < len(content) <= MAX_CHARACTERS
    assert content.split()[-1] in {f"word{number}" for number in range(5000)}


def test_a_long_field_leaves_room_for_the_others(enrich):
    enriched = enrich("card", {"merchant_name": "Starbucks"}, user_id="u" * 40_000, status="x" * 40_000)
    assert "starbucks" in enriched.words
    assert len(enriched.content) <= MAX_CHARACTERS


def test_letters_that_unfold_do_not_make_it_longer(enrich):
    assert len(enrich("card", {"note": "\ufdfa" * 1000, "merchant_name": "\ufdfa" * 1000}).content) <= MAX_CHARACTERS


def test_folding_what_was_cut_changes_nothing(event):
    content = search_content(event("card").transaction, ["Ёлка" * 3 + str(number) for number in range(1000)], "")
    assert fold(content) == content
