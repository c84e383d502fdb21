"""What a panel is, and how it asks: `PODS` stands for the pods that are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Panel:
    """Queries by what their lines are called; with `limits` one number, orange from the first, red from the second."""

    title: str
    unit: str
    about: str
    queries: Mapping[str, str]
    runbooks: Sequence[str] = ()
    stacked: bool = False
    limits: tuple[float, float] | None = None
    width: int = 8


@dataclass(frozen=True)
class Row:
    """A question, and what answers it; the first row has none."""

    title: str
    panels: Sequence[Panel]
    height: int = 8


def rate(metric: str, by: str = "") -> str:
    """Of a counter, by second."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate(activity_indexer_{metric}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "le", window: str = "$__rate_interval") -> str:
    """Of a histogram."""
    return f"histogram_quantile({share}, sum by ({by}) (rate(activity_indexer_{metric}_bucket{{PODS}}[{window}])))"


def mean(metric: str, by: str) -> str:
    """Of a histogram."""
    return f"{rate(f'{metric}_sum{{PODS}}', by)} / {rate(f'{metric}_count{{PODS}}', by)}"


def operator(metric: str, by: str = "name") -> str:
    """Of what the operator knows of its indexers."""
    return f'max by ({by}) (activity_indexer_operator_{metric}{{exported_namespace="$namespace"}})'


LAG: Final = ("ActivityIndexerLagGrowing", "ActivityIndexerLagHigh", "ActivityIndexerLagOld")
FRESH: Final = (
    "ActivityIndexerFreshnessBurnsFast",
    "ActivityIndexerFreshnessBurnsSlowly",
    "ActivityIndexerNothingFound",
)
DOWN: Final = tuple(f"ActivityIndexer{name}Down" for name in ("Elasticsearch", "Kafka", "Redis", "Postgres"))
FAILS: Final = ("ActivityIndexerDeadLetters",)
