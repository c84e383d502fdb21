"""Checks a file of exported dead letters before any of it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from activity_indexer.dead_letters.lines import LineError, from_line, importable
from activity_indexer.dead_letters.record import StoredDeadLetter

MAX_REPORTED: Final = 20
"""Problems that are reported one by one."""


def identity(letter: StoredDeadLetter) -> int:
    """The same for every copy of a dead letter: where its event came from, or else all that it holds."""
    if letter.original:
        place, offset = letter.original
        text = f"{place.topic}:{place.partition}:{offset}".encode()
    else:
        text = repr((letter.key, letter.value, letter.headers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


@dataclass(slots=True)
class Checked:
    """What a file holds: `letters` good lines, the first problems in words, and how many there are.

    `lines` has the line of each identity: 8 bytes stand for a dead letter, so that large files fit.
    """

    letters: int = 0
    lines: dict[int, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    wrong: int = 0

    def refuse(self, problem: str) -> None:
        """Count a problem, and keep the first ones."""
        self.wrong += 1
        if len(self.problems) < MAX_REPORTED:
            self.problems.append(problem)


def letters_in(lines: Iterable[bytes]) -> Iterator[tuple[int, StoredDeadLetter | LineError]]:
    """Line numbers, from 1, with a dead letter or what is wrong; empty lines are passed over."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, from_line(line)
            except LineError as error:
                yield number, error


def check(lines: Iterable[bytes], *, force: bool) -> Checked:
    """Every line's form, and, unless it is forced: headers that can be read, and no dead letter twice."""
    found = Checked()
    for number, letter in letters_in(lines):
        if isinstance(letter, LineError):
            found.refuse(f"line {number}: {letter}")
            continue
        found.letters += 1
        if not force:
            _check_letter(found, number, letter)
    return found


def _check_letter(found: Checked, number: int, letter: StoredDeadLetter) -> None:
    try:
        importable(letter)
    except LineError as error:
        found.refuse(f"line {number}: {error}")
    earlier = found.lines.setdefault(identity(letter), number)
    if earlier != number:
        found.refuse(f"line {number}: the same dead letter as in line {earlier}")


def refuse_known(found: Checked, stored: Iterable[StoredDeadLetter]) -> None:
    """Refuse the lines whose dead letters lie in the topic already."""
    for letter in stored:
        number = found.lines.get(identity(letter))
        if number is not None:
            found.refuse(f"line {number}: this dead letter is there already, at {letter.place}")
