"""Writes the measured parts of docs/performance.md: `make bench-docs`.

They are made from all results in benchmarks/results, in the order of their names; of a part that was measured more than
once the last one counts. Text between the marks is replaced, all other text is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from bench import plot, results
from bench.candidates import ROOT, TITLES
from bench.results import Results, Row

RESULTS: Final = ROOT / "benchmarks" / "results"
PAGE: Final = ROOT / "docs" / "performance.md"
PICTURES: Final = ROOT / "docs" / "images" / "performance"
DEFAULT: Final = "indexer"
LIBRARIES: Final = ("naive", "faststream", "quix")
STORM: Final = 50
"""Percent: the part growth-invalid with one invalid event beside every two valid ones."""

AXES: Final = {
    "growth-events": "events of one run",
    "growth-partitions": "partitions",
    "growth-batch": "`CONSUMER_BATCH_SIZE`",
    "growth-request": "`CONSUMER_REQUEST_EVENTS`",
    "growth-size": "bytes of an event",
    "growth-duplicates": "% sent twice",
    "growth-ties": "% of updates that tie",
    "growth-invalid": "% invalid as well",
}


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def machine(found: Results) -> str:
    """Where it was measured, in one sentence."""
    here = found.machine
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items() if name != "activity-indexer")
    loads = [run.load_average for run in found.runs]
    return (
        f"{here.cores} cores ({here.processor}), which the servers share; {here.python}, {here.system}; {versions};"
        f" load average {min(loads):.0f} to {max(loads):.0f}; {found.reference:.2f} µs a turn of the calibration loop."
    )


def goals(rows: Sequence[Row]) -> str:
    """What was wanted of the indexer, what it was before, and what it is."""
    found = {
        (row.part, row.candidate): row for row in rows if row.cost and row.rate and not row.part.startswith("growth")
    }

    def cost(candidate: str) -> float | None:
        row = found.get(("blackhole", candidate))
        return row.cost.median if row and row.cost else None

    def rate(candidate: str, part: str = "blackhole") -> float | None:
        row = found.get((part, candidate))
        if row is None or row.rate is None:
            return None
        return row.rate.most if part == "blackhole" else row.rate.median

    def compared(candidate: str) -> float | None:
        peers = [value for value in map(cost, LIBRARIES) if value]
        ours = cost(candidate)
        return min(peers) / ours if peers and ours else None

    def share(candidate: str) -> float | None:
        limit, ours = rate("limit", "elasticsearch"), rate(candidate, "elasticsearch")
        return ours / limit * 100 if limit and ours else None

    def mib(candidate: str) -> float | None:
        row = found.get(("blackhole", candidate))
        return row.peak_mib if row else None

    def late(candidate: str) -> float | None:
        row = found.get(("blackhole", candidate))
        return row.lag_most_ms if row else None

    lines = []
    for name, wanted, measure, form in (
        ("CPU µs/event, batches of 1,000", "≤ 15", lambda which: cost(f"{which}-1000"), "{:.1f}"),
        ("CPU µs/event, default settings with a backlog", "≤ 17", cost, "{:.1f}"),
        ("cheapest of naive, FastStream and Quix, as a multiple of the default", "≥ 3", compared, "{:.1f}"),
        ("events/s of one process, best run", "≥ 60,000", rate, "{:,.0f}"),
        ("% of the limit of Elasticsearch, batches of 1,000", "≥ 95", lambda which: share(f"{which}-1000"), "{:.0f}"),
        ("% of the limit of Elasticsearch, default settings", "≥ 90", share, "{:.0f}"),
        ("MiB at most, batches of 1,000", "≤ 120", lambda which: mib(f"{which}-1000"), "{:.0f}"),
        ("event loop late at most (ms), batches of 1,000", "≤ 20", lambda which: late(f"{which}-1000"), "≤ {:g}"),
    ):
        before, now = measure("before"), measure(DEFAULT)
        lines.append([name, *("" if value is None else form.format(value) for value in (before, now)), wanted])
    return table(["", "before", "now", "wanted"], lines)


def peers(rows: Sequence[Row]) -> str:
    """The candidates beside each other; the last column is their cost as a multiple of the default's."""
    shown = [row for row in rows if row.part == "blackhole" and row.cost and row.rate]
    ours = next((row.cost.median for row in shown if row.candidate == DEFAULT and row.cost), None)
    lines = []
    for row in sorted(shown, key=lambda row: row.cost.median if row.cost else 0):
        if row.cost and row.rate:
            lag = "" if row.lag_most_ms is None else f"≤ {row.lag_most_ms:g}"
            lines.append(
                [
                    TITLES.get(row.candidate, row.candidate),
                    f"**{row.cost.median:.1f}**",
                    f"{row.cost.least:.1f} to {row.cost.most:.1f}",
                    f"{row.rate.median:,.0f} (best {row.rate.most:,.0f})",
                    f"{row.peak_mib:.0f}",
                    lag,
                    f"{row.cost.median / ours:.1f}" if ours else "",
                ]
            )
    head = ["program", "CPU µs/event", "of runs", "events/s", "MiB at most", "loop late, ms", "times the default"]
    return table(head, lines)


def indexed(rows: Sequence[Row]) -> str:
    """On the real Elasticsearch, with shares of the limit."""
    shown = [row for row in rows if row.part == "elasticsearch" and row.rate and row.cost]
    limit = next((row.rate.median for row in shown if row.candidate == "limit" and row.rate), None)
    lines = [
        [
            TITLES.get(row.candidate, row.candidate),
            f"{row.rate.median:,.0f}",
            f"{row.rate.least:,.0f} to {row.rate.most:,.0f}",
            f"{row.rate.median / limit:.0%}" if limit else "",
            f"{row.cost.median:.1f}",
        ]
        for row in shown
        if row.rate and row.cost
    ]
    return table(["program", "events/s", "of runs", "of the limit", "CPU µs/event"], lines)


def growth(found: Results) -> str:
    """How the cost grows on each axis."""
    lines, rows = [], results.rows(found)
    for part, axis in AXES.items():
        grows = results.grown(found, part)
        marks = plot.on_the_way(found) if part == "growth-events" else plot.marks(rows, part)
        if grows is None or not marks:
            continue
        knees = ", ".join(f"{knee:,g}" for knee in grows.knees) or "none"
        lines.append(
            [
                axis,
                f"{marks[0].x:,g} … {marks[-1].x:,g}",
                f"{marks[0].y:.1f} … {marks[-1].y:.1f}",
                f"{grows.exponent:.2f}",
                grows.verdict,
                knees,
            ]
        )
    return table(["amount", "from … to", "CPU µs/event", "exponent", "growth", "knees"], lines)


def others(found: Results) -> str:
    """What else the runs show: the load generator, and a dead letter."""
    rows, lines = results.rows(found), []
    large = max(found.topics, key=lambda topic: topic.events, default=None)
    if large is not None:
        lines.append(
            [
                f"`activity-loadgen`, {large.events:,} events of {large.bytes // large.events} bytes",
                f"{large.cpu_microseconds:.1f} µs/event, {large.events_per_second:,.0f} events/s",
            ]
        )
    marks = {mark.x: mark.y for mark in plot.marks(rows, "growth-invalid")}
    if 0 in marks and STORM in marks:
        share = STORM / 100
        letter = (marks[STORM] * (1 + share) - marks[0]) / share
        lines.append([f"a dead letter, where {STORM} % invalid events come as well", f"{letter:.1f} µs"])
    first = [
        run.first_document_seconds for run in found.runs if run.candidate == DEFAULT and run.first_document_seconds
    ]
    if first:
        lines.append(["first document after the indexer's start", f"{min(first):.1f} s (the quickest of {len(first)})"])
    return table(["", "measured"], lines)


def parts(found: Results) -> dict[str, str]:
    """Text by the name of its mark."""
    rows = results.rows(found)
    return {
        "machine": machine(found),
        "goals": goals(rows),
        "peers": peers(rows),
        "elasticsearch": indexed(rows),
        "growth": growth(found),
        "others": others(found),
    }


def replaced(page: str, texts: dict[str, str]) -> str:
    """The page with these texts between their marks. Raises ValueError when a mark is missing."""
    for name, text in texts.items():
        begin, end = f"<!-- make bench-docs: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        found = pattern.findall(page)
        if len(found) != 1:
            raise ValueError(f"expected the mark {begin!r} and its end once, found them {len(found)} times")
        page = page.replace(found[0], f"{begin}\n{text}\n{end}")
    return page


def main() -> None:
    """Write the page and its pictures."""
    found = results.combined([results.load(file) for file in sorted(RESULTS.glob("*.json"))])
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, drawn in plot.pictures(found).items():
        (PICTURES / name).write_text(drawn, encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), parts(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
