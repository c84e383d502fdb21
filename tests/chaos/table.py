"""Sums up outcomes: a table in Markdown, for the terminal and the docs."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from chaos.outcome import Outcome


def line(outcome: Outcome) -> str:
    """One seed in one line."""
    anomalies = sum(outcome.anomalies.values())
    verdict = "ok" if outcome.good else f"{anomalies} anomalies, {len(outcome.problems)} problems"
    return (
        f"seed {outcome.seed:4}  {outcome.events:6} events  {outcome.redelivered:5} redelivered  "
        f"{outcome.recovery:5.1f} s recovery  {outcome.duration:5.1f} s  {verdict:8}  {', '.join(outcome.faults)}"
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """All seeds in one table, and how often each fault was made."""
    if not outcomes:
        return "no seed was run"
    recoveries = sorted(outcome.recovery for outcome in outcomes)
    rows = [
        ("seeds", f"{len(outcomes)} ({_seeds(outcomes)})"),
        ("events acknowledged", f"{sum(o.events for o in outcomes):,}"),
        ("events sent, never acknowledged", f"{sum(o.unacknowledged for o in outcomes):,}"),
        ("faults", f"{sum(len(o.faults) for o in outcomes):,}"),
        ("looks at committed offsets", f"{sum(o.observations for o in outcomes):,}"),
        ("ties", f"{sum(o.ties for o in outcomes):,}"),
        ("events redelivered", f"{sum(o.redelivered for o in outcomes):,}"),
        ("dead letters", f"{sum(o.dead_letters for o in outcomes):,}"),
        ("of which repeated", f"{sum(o.repeated_dead_letters for o in outcomes):,}"),
        ("**anomalies**", f"**{sum(sum(o.anomalies.values()) for o in outcomes)}**"),
        ("indexers that ended by themselves, or not in time", str(sum(len(o.problems) for o in outcomes))),
        ("recovery, p50 / max", f"{median(recoveries):.1f} s / {recoveries[-1]:.1f} s"),
        ("slowest end after SIGTERM", f"{max(o.slowest_end for o in outcomes):.1f} s"),
        ("largest indexer (RSS)", f"{max(o.largest_bytes for o in outcomes) / 1e6:.0f} MB"),
        ("duration", f"{sum(o.duration for o in outcomes) / 60:.0f} min"),
    ]
    return "\n".join([*_table(("what", "how much"), rows), "", *_faults(outcomes), *_failures(outcomes)])


def _seeds(outcomes: Sequence[Outcome]) -> str:
    """Seeds as runs: `0-51, 55`."""
    seeds = sorted({outcome.seed for outcome in outcomes})
    firsts = [seed for seed in seeds if seed - 1 not in seeds]
    lasts = [seed for seed in seeds if seed + 1 not in seeds]
    return ", ".join(
        f"{first}-{last}" if last > first else f"{first}" for first, last in zip(firsts, lasts, strict=True)
    )


def _faults(outcomes: Sequence[Outcome]) -> list[str]:
    times = Counter(name for outcome in outcomes for name in outcome.faults)
    worst = {name: max(o.recovery for o in outcomes if name in o.faults) for name in times}
    rows = [(name, str(count), f"{worst[name]:.1f} s") for name, count in sorted(times.items())]
    return _table(("fault", "times", "slowest recovery with it"), rows)


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    bad = [outcome for outcome in outcomes if not outcome.good]
    return [f"\nseed {o.seed} ({', '.join(o.faults)}): {o.anomalies or ''} {'; '.join(o.problems)}" for o in bad]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
