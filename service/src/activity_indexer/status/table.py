"""The readable status: it fits a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from activity_indexer.status.report import Answer, Group, Kafka, Rows, Status
from activity_indexer.timestamps import shorten

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def render(status: Status) -> RenderableType:
    """All tables, and what is wrong at the end."""
    parts: list[RenderableType] = [_servers(status)]
    if status.kafka.found:
        parts += [_topics(status.kafka.found), _groups(status.kafka.found)]
        parts += [lines for group in status.kafka.found.groups if (lines := _members(group))]
    parts += [_indexers(status)] if status.indexers else []
    parts += [_dead_letters(status)] if status.dead_letters.found and status.dead_letters.found.causes else []
    if status.problems:
        return Lines(*parts, *(Text(f"! {problem}", style="red") for problem in status.problems))
    return Lines(*parts, Text("all is well", style="green"))


def _servers(status: Status) -> Table:
    table = _table(f"activity-indexer {status.version}, {status.at}", "SERVER", "VERSION", "WHAT IT HOLDS")
    servers: Sequence[tuple[str, Answer[Any] | None]] = (
        ("Kafka", status.kafka),
        ("Elasticsearch", status.elasticsearch),
        ("Redis", status.redis),
        ("PostgreSQL", status.postgresql),
    )
    for name, answer in servers:
        if answer is None:
            table.add_row(name, "", "the audit is switched off")
        elif answer.found is None:
            table.add_row(Text(name, style="red"), Text("down", style="red"), Text(answer.reason))
        else:
            table.add_row(name, Text(answer.found.version), Text(", ".join(_holds(name, answer.found))))
    return table


def _holds(name: str, found: Any) -> Iterator[str]:
    if name == "Kafka":
        yield f"{found.brokers} brokers" if found.brokers != 1 else "1 broker"
    elif name == "Elasticsearch":
        if found.index:
            yield f"{found.alias} → {found.index}"
            yield f"{found.documents:,} documents"
            yield f"{found.tombstones:,} tombstones"
            yield size(found.bytes)
        yield f"cluster {found.health}"
        if found.building:
            yield f"{found.building} is being built"
    elif name == "Redis":
        yield size(found.used_bytes)
    else:
        yield f"{_rows(found.transactions)} transactions"
        yield f"{_rows(found.events)} events"
        if found.rejects and found.rejects.rows:
            yield f"{_rows(found.rejects)} rejected"


def _rows(rows: Rows | None) -> str:
    return "no table of" if rows is None else f"{'' if rows.exact else 'about '}{rows.rows:,}"


def size(count: float) -> str:
    """Bytes in readable form."""
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"


def _topics(kafka: Kafka) -> Table:
    table = _table("", "TOPIC", "PARTITIONS", "RECORDS", "IN/S")
    for topic in kafka.topics:
        if topic.exists:
            rate = "" if topic.per_second is None else f"{topic.per_second:,.1f}"
            table.add_row(Text(topic.name), str(topic.partitions), f"{topic.records:,}", rate)
        elif topic.role == "transactions":
            table.add_row(Text(topic.name), Text("missing", style="red"), "", "")
    return table


def _groups(kafka: Kafka) -> Table:
    table = _table("", "GROUP", "STATE", "MEMBERS", "LAG", "OUT/S")
    for group in kafka.groups:
        rate = "" if group.per_second is None else f"{group.per_second:,.1f}"
        lag = Text(f"{group.total_lag:,}", style="yellow" if group.total_lag else "")
        table.add_row(Text(group.name), group.state, str(len(group.members)), lag, rate)
    return table


def _members(group: Group) -> Table | None:
    if not group.members:
        return None
    table = _table("", f"MEMBER OF {shorten(group.name, 30)}", "HOST", "PARTITION: LAG")
    for member in group.members:
        lags = ", ".join(f"{number}: {_lag(group.lag.get(str(number)))}" for number in member.partitions)
        table.add_row(Text(member.client_id), Text(member.host), lags)
    return table


def _indexers(status: Status) -> Table:
    table = _table("", "INDEXER", "ADDRESS", "STATE")
    for each in status.indexers:
        found = each.answer.found
        if found is None:
            table.add_row("", Text(each.address), Text("does not answer", style="red"))
        else:
            state = "ready" if found.ready else "not ready" if found.live else "not live"
            problems = (
                f", {len(found.facts)} problems" if len(found.facts) > 1 else ", 1 problem" if found.facts else ""
            )
            style = "" if found.ready and not found.facts else "yellow" if found.ready else "red"
            table.add_row(Text(found.instance), Text(each.address), Text(state + problems, style=style))
    return table


def _lag(lag: int | None) -> str:
    return "none committed" if lag is None else f"{lag:,}"


def _dead_letters(status: Status) -> Table:
    found = status.dead_letters.found
    table = _table("", "DEAD LETTERS", "CAUSE", "LAST")
    if found is None:
        return table
    for cause in found.causes:
        words = ": ".join(word for word in (cause.stage, cause.error, cause.field) if word)
        table.add_row(f"{cause.count:,}", Text(shorten(words, 60)), cause.last[:19])
    if found.sampled < found.total:
        table.caption = f"{found.total:,} in all; causes of the newest {found.sampled:,}"
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(
        box=None, title=title or None, title_justify="left", padding=(0, 2, 0, 0), header_style="bold", expand=True
    )
    for column in columns:
        numbers = column in {"PARTITIONS", "RECORDS", "IN/S", "MEMBERS", "LAG", "OUT/S", "DEAD LETTERS"}
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    return table
