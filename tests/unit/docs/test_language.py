"""The word list finds words in texts and names, and the project's own texts hold none of them."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "docs" / "language.py"
SPEC = importlib.util.spec_from_file_location("language", PATH)
assert SPEC
assert SPEC.loader
language = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(language)


@pytest.mark.parametrize(
    "text",
    [
        "an error is " + "to" + "ld once",
        "def test_no" + "body_waits() -> None:",
        "class To" + "ld:",
        "the server is " + "away",
        "after so" + " many seconds",
        "so" + " long a wait",
    ],
)
def test_a_word_that_is_not_plain_is_found_in_texts_and_names(text: str) -> None:
    assert [line for line, _, _ in language.findings(f"first\n{text}\n")] == [2]


@pytest.mark.parametrize(
    "text", ["mentioned", "a storyteller", "toldo", "recommend", "so long as it lasts", "right away"]
)
def test_words_that_only_look_alike_are_not(text: str) -> None:
    assert list(language.findings(text)) == []


def test_each_word_comes_with_what_to_write_instead() -> None:
    [(line, word, advice)] = language.findings("the broker is " + "away")
    assert (line, word, advice) == (1, "is " + "away", "unavailable, unreachable")
