"""Regular expressions meet texts that others wrote: the cost of each grows with the length, and no faster."""

import importlib
import pkgutil
import re

import pytest

import activity_indexer
import activity_loadgen

LENGTH = 40_000
"""At this length a quadratic cost is many seconds for one text, and minutes for all of them."""

PIECES = [
    "1",
    "12",
    "a",
    "Z",
    "_",
    "-",
    " ",
    "\t",
    ".",
    ":",
    "=",
    "&",
    "'",
    '"',
    "/",
    "*",
    "\\",
    "1 ",
    "1.",
    "a1",
    "a-",
    "s ",
]
ENDS = ["", "!", ":", "x", "@"]


def expressions():
    found = {}
    for package in (activity_indexer, activity_loadgen):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                for name, value in vars(importlib.import_module(module.name)).items():
                    if isinstance(value, re.Pattern):
                        found.setdefault(value, f"{module.name}.{name}")
    return found


EXPRESSIONS = expressions()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("expression", EXPRESSIONS, ids=EXPRESSIONS.get)
def test_the_cost_of_a_text_grows_with_its_length(expression):
    source = expression.pattern if isinstance(expression.pattern, str) else expression.pattern.decode()
    for piece in [*PIECES, *re.findall(r"[A-Za-z]{3,}", source)]:
        for end in ENDS:
            text = piece * (LENGTH // len(piece)) + end
            value = text.encode() if isinstance(expression.pattern, bytes) else text
            expression.match(value)
            expression.fullmatch(value)
            for _ in expression.finditer(value):
                pass
