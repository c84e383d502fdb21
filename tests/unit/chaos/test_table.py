"""The table sums up what the seeds came to."""

from pathlib import Path

from chaos.outcome import Outcome, read
from chaos.table import line, summary

GOOD = Outcome(
    seed=1, faults=["redis killed"], indexers=2, events=1000, unacknowledged=0, observations=20, redelivered=30,
    dead_letters=20, repeated_dead_letters=1, anomalies={}, problems=[], recovery=2.0, slowest_end=1.0,
    largest_bytes=10**8, duration=30.0, notes=[], witnesses="",
)  # fmt: skip
BAD = Outcome(
    seed=2, faults=["redis killed", "broker killed"], indexers=3, events=500, unacknowledged=2, observations=9,
    redelivered=0, dead_letters=5, repeated_dead_letters=0, anomalies={"lost event": 3}, problems=["ended"],
    recovery=8.0, slowest_end=1.0, largest_bytes=10**8, duration=30.0, notes=[], witnesses="…",
)  # fmt: skip


def test_outcomes_are_kept_as_lines(tmp_path: Path) -> None:
    for outcome in (GOOD, BAD):
        outcome.append_to(tmp_path / "results")
    assert read(tmp_path / "results") == [GOOD, BAD]


def test_the_table_has_sums_the_median_and_the_worst() -> None:
    text = summary([GOOD, BAD])
    assert "| seeds | 2 (1-2) |" in text
    assert "| events acknowledged | 1,500 |" in text
    assert "| **anomalies** | **3** |" in text
    assert "| recovery, p50 / max | 5.0 s / 8.0 s |" in text
    assert "| redis killed | 2 | 8.0 s |" in text
    assert "| broker killed | 1 | 8.0 s |" in text
    assert "seed 2 (redis killed, broker killed): {'lost event': 3} ended" in text
    assert "seed 1 (" not in text


def test_a_line_says_whether_every_promise_was_kept() -> None:
    assert " ok " in line(GOOD)
    assert "3 anomalies, 1 problems" in line(BAD)
