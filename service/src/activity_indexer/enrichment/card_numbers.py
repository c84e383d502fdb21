"""Finds card numbers in text, and shows them by their last four digits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters
from typing import Final

SHORTEST: Final = 14
LONGEST: Final = 19

_DIGITS: Final = re.compile(r"(?<![^\W_])[^\W\d_]*\d+(?:[\W_]{1,3}\d+)*[^\W\d_]*(?![^\W_])")
"""Groups of digits, with a word before and after at most: within the letters of a hash there are no card numbers."""

_DIGIT: Final = re.compile(r"\d")
_GROUP: Final = re.compile(r"\d+")
_DOUBLED: Final = {"0": 0, "1": 2, "2": 4, "3": 6, "4": 8, "5": 1, "6": 3, "7": 5, "8": 7, "9": 9}
_BEGINNING: Final = re.compile(
    r"4\d{15}(?:\d{3})?"
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11,16}|35\d{14,17}"
    r"|(?:50|5[6-9]|6\d|81|82)\d{14,17}|220[0-4]\d{12,15}"
)


def masked(last_four: str) -> str:
    """The usual short form of a card: `•••• 1234`."""
    return f"•••• {last_four}"


def is_card_number(digits: str) -> bool:
    """Whether ASCII digits begin, are as many, and check (Luhn) as those of a card."""
    return bool(_BEGINNING.fullmatch(digits)) and _checks(digits)


def without_card_numbers(text: str) -> str:
    """The text with every card number masked, however its digits are grouped."""
    if text.isascii():
        if len(text) - len(text.encode().translate(None, b"0123456789")) < SHORTEST:
            return text
    elif not _DIGIT.search(text):
        return text
    return _DIGITS.sub(_masked_within, text)


def is_mixed(word: str) -> bool:
    """Whether letters stand among the digits of this word, as in a hash: then there is no card number in it.

    The word is made of letters and digits alone. One that is not ASCII is not looked at.
    """
    return word.isascii() and not word.strip(ascii_letters).isdigit()


def _masked_within(run: re.Match[str]) -> str:
    text = run[0]
    if len(text) < SHORTEST:
        return text
    groups = [group.span() for group in _GROUP.finditer(text)]
    first, done, parts = 0, 0, list[str]()
    while first < len(groups):
        start = groups[first][0]
        card = next(_cards(text, groups[first:]), None)
        if card is None:
            first += 1
            continue
        count, digits = card
        parts += text[done:start], masked(digits[-4:])
        first += count
        done = groups[first - 1][1]
    return "".join((*parts, text[done:]))


def _cards(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, str]]:
    digits = ""
    for count, (start, end) in enumerate(groups[:LONGEST], 1):
        digits += text[start:end]
        if len(digits) > LONGEST:
            return
        if len(digits) >= SHORTEST and is_card_number(as_ascii(digits)):
            yield count, as_ascii(digits)


def as_ascii(digits: str) -> str:
    """Decimal digits of any script as 0 to 9."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _checks(digits: str) -> bool:
    return (sum(map(int, digits[-1::-2])) + sum(map(_DOUBLED.__getitem__, digits[-2::-2]))) % 10 == 0
