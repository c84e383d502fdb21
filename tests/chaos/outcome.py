"""What came of one seed, as a line of JSON."""

from pathlib import Path

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one run; times in seconds.

    `recovery` is from the last healing (and the last event sent) until both groups had committed everything,
    `slowest_end` the longest that an indexer took to end after SIGTERM. `problems` are what should not be and is no
    anomaly of the data: a process that ended by itself, or not in time.
    """

    seed: int
    faults: list[str]
    indexers: int
    events: int
    unacknowledged: int
    observations: int
    redelivered: int
    dead_letters: int
    repeated_dead_letters: int
    anomalies: dict[str, int]
    problems: list[str]
    recovery: float
    slowest_end: float
    largest_bytes: int
    duration: float
    notes: list[str]
    witnesses: str
    ties: int = 0

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.anomalies and not self.problems

    def append_to(self, file: Path) -> None:
        """Add it to a file of such lines."""
        with file.open("ab") as opened:
            opened.write(msgspec.json.encode(self) + b"\n")


def read(file: Path) -> list[Outcome]:
    """The outcomes in a file."""
    return [msgspec.json.decode(line, type=Outcome) for line in file.read_bytes().splitlines() if line]
