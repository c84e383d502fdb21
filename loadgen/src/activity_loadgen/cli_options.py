"""The command line's options, declared once and shared by its commands."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, Final

import click

from activity_common import setting_names as names
from activity_loadgen.cli_help import MixParam, SectionOption, TimeParam
from activity_loadgen.invalid import HOSTILE_KINDS, INVALID_KINDS
from activity_loadgen.options import DEFAULT_SERVERS, TIMESTAMPS

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

RATIO: Final = {"type": float, "metavar": "RATIO", "show_default": True}


def _option(section: str, *names: str, **kwargs: Any) -> Decorator:
    return click.option(*names, cls=SectionOption, section=section, **kwargs)


def _together(*options: Decorator) -> Decorator:
    return lambda function: reduce(lambda wrapped, option: option(wrapped), reversed(options), function)


def _kafka_servers(section: str) -> Decorator:
    return _option(
        section, "--kafka-servers", metavar="SERVERS", envvar=names.KAFKA_BOOTSTRAP_SERVERS, default=DEFAULT_SERVERS,
        show_default=f"from env KAFKA_BOOTSTRAP_SERVERS, else {DEFAULT_SERVERS}", help="Kafka bootstrap servers.",
    )  # fmt: skip


def basic_options(function: Command) -> Command:
    """The four options everybody needs."""
    decorate: Decorator = _together(
        _option("Options", "--count", type=int, metavar="N", default=1000, show_default=True,
                help="Number of transactions; with --duration alone as many as fit."),
        _option("Options", "--user-id", metavar="USER_ID", default="test_user_123", show_default=True,
                help="User ID for transactions."),
        _kafka_servers("Options"),
        _option("Options", "--update-ratio", default=0.1, help="Ratio of updates vs creates.", **RATIO),
    )  # fmt: skip
    return decorate(function)


def event_options(function: Command) -> Command:
    """What the events are like."""
    section = "Events (ratios are shares of the transactions)"
    decorate: Decorator = _together(
        _option(section, "--users", type=int, metavar="N", default=1, show_default=True,
                help="Number of users; the first is --user-id, the others have _2, _3, … after it."),
        _option(section, "--user-skew", type=float, metavar="S", default=1.0, show_default=True,
                help="The k-th user has a weight of 1/k**S: 0 is even, 1 is Zipf's law."),
        _option(section, "--type-mix", type=MixParam(), metavar="MIX", default="card=0.6,p2p=0.25,crypto=0.15",
                show_default=True, help="Shares of the transaction types."),
        _option(section, "--delete-ratio", default=0.0, help="End with a deletion.", **RATIO),
        _option(section, "--duplicate-ratio", default=0.0, help="Have an event sent twice, byte for byte.", **RATIO),
        _option(section, "--tie-ratio", default=0.0,
                help="Share of the updates that are followed by another one with the same timestamp and other content.",
                **RATIO),
        _option(section, "--scatter-ratio", default=0.0,
                help="Share of the events with a key of their own, so that a transaction's are in several partitions.",
                **RATIO),
        _option(section, "--late-ratio", default=0.0,
                help="Have an older event sent after a newer one; adds an update where there is only one event.",
                **RATIO),
        _option(section, "--invalid-ratio", default=0.0, help="Come with an event no consumer can accept.", **RATIO),
        _option(section, "--invalid-kind", "invalid_kinds", multiple=True, metavar="KIND",
                help=f"Only this kind of invalid event; may be repeated. Kinds: {', '.join(INVALID_KINDS)}; only when "
                f"named: {', '.join(HOSTILE_KINDS)}."),
        _option(section, "--payload-bytes", type=int, metavar="BYTES", default=0, show_default=True,
                help="Pad valid events to about this size."),
        _option(section, "--traceparent-ratio", default=0.0,
                help="Share of the events with a W3C traceparent header.", **RATIO),
        _option(section, "--trace-ratio", type=float, metavar="RATIO",
                help="Give every event a traceparent header, and sample this share of them; their spans are sent by "
                "OTLP where OTEL_EXPORTER_OTLP_ENDPOINT says."),
        _option(section, "--spread", type=int, metavar="N", default=50, show_default=True,
                help="At most this many transactions start between two events of one."),
        _option(section, "--seed", type=int, metavar="SEED", show_default="random",
                help="With the same seed, --start-time and other options the events are the same, byte for byte."),
        _option(section, "--timestamps", type=click.Choice(TIMESTAMPS), default="microseconds", show_default=True,
                help="Unit that event timestamps are cut to."),
        _option(section, "--start-time", "start_us", type=TimeParam(), metavar="TIME", show_default="now",
                help="Timestamp of the first event (RFC 3339)."),
    )  # fmt: skip
    return decorate(function)


def sending_options(function: Command) -> Command:
    """How events are sent."""
    section = "Sending"
    decorate: Decorator = _together(
        topic_option(section),
        _option(section, "--partitions", type=click.IntRange(1, 10_000), metavar="N", default=6, show_default=True,
                help="Partitions of the topic, if it has to be created."),
        _option(section, "--rate", type=float, metavar="EVENTS/S", show_default="as fast as Kafka takes them",
                help="Events per second."),
        _option(section, "--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                help="Stop after this time."),
        _option(section, "--wait", type=click.FloatRange(0), metavar="SECONDS", default=60.0, show_default=True,
                help="How long Kafka may be unreachable before giving up."),
    )  # fmt: skip
    return decorate(function)


def topic_option(section: str) -> Decorator:
    """Where events go."""
    return _option(section, "--topic", metavar="TOPIC", envvar=names.KAFKA_TRANSACTIONS_TOPIC, default="transactions",
                   show_default="from env KAFKA_TRANSACTIONS_TOPIC, else transactions",
                   help="Topic of the events.")  # fmt: skip


def ledger_options(function: Command) -> Command:
    """What is kept and checked."""
    section = "Checking"
    decorate: Decorator = _together(
        _option(section, "--ledger", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                help="Write a JSON line for each acknowledged event."),
        _option(section, "--ledger-append", is_flag=True, help="Add to a ledger that exists."),
        _option(section, "--verify", is_flag=True,
                help="Wait until all is searchable; say what is missing, stale, different or extra."),
    )  # fmt: skip
    return decorate(function)


def verify_options(section: str) -> Decorator:
    """How to check what arrived."""
    return _together(
        _option(section, "--verify-timeout", type=click.FloatRange(0), metavar="SECONDS", default=120.0,
                show_default=True, help="How long it may take until all is searchable."),
        _option(section, "--elasticsearch-url", metavar="URL", envvar=names.ELASTICSEARCH_URL,
                show_default="from env ELASTICSEARCH_URL", help="Where Elasticsearch is."),
        _option(section, "--index", metavar="ALIAS", envvar=names.ELASTICSEARCH_INDEX, default="transactions",
                show_default="from env ELASTICSEARCH_INDEX, else transactions", help="Alias to search."),
        _option(section, "--dead-letter-topic", metavar="TOPIC", show_default="the topic's name with .dlq",
                help="Where invalid events must turn up."),
        _option(section, "--compare-fields/--no-compare-fields", default=True, show_default=True,
                help="Compare documents field by field with the events, which are read back from Kafka."),
    )  # fmt: skip


def kafka_servers_option(section: str) -> Decorator:
    """Where Kafka is."""
    return _kafka_servers(section)


def json_option(section: str) -> Decorator:
    """What the output is like."""
    return _option(section, "--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
