"""Every row of the failure modes names a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "failure-modes.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
COLUMNS = 6


def rows() -> list[list[str]]:
    """The cells of each row, without heads and rules."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] != "failure" and not row[0].startswith("---")]


@cache
def defined_tests(file: Path) -> set[str]:
    """Names of the tests that a file defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)}
    return {name for name in found if name.startswith("test_")}


def test_there_are_failures() -> None:
    assert len(rows()) > 30


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_says_everything_and_names_a_test_that_exists(row: list[str]) -> None:
    assert len(row) == COLUMNS
    assert all(row)
    named = NAMED.findall(row[-1])
    assert named, "the last cell must name a test as `tests/….py::test_name`"
    for file, name in named:
        assert name in defined_tests(ROOT / file)
