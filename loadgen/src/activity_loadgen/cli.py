"""The command line: `activity-loadgen` publishes."""

import asyncio
import logging
import os
import sys

import click

from activity_loadgen.generate import generate
from activity_loadgen.kafka import (
    DEFAULT_SERVERS,
    KafkaSettingError,
    KafkaUnavailableError,
    connection_from,
)
from activity_loadgen.options import LoadOptions, OptionError
from activity_loadgen.publish import PublishError, PublishOptions, publish


@click.command()
@click.option("--count", type=int, default=1000, show_default=True, help="Number of transactions.")
@click.option("--user-id", default="test_user_123", show_default=True, help="User ID for transactions.")
@click.option("--kafka-servers", default=DEFAULT_SERVERS, envvar="KAFKA_BOOTSTRAP_SERVERS", show_envvar=True,
              help="Kafka bootstrap servers.")
@click.option("--update-ratio", type=float, default=0.1, show_default=True, help="Ratio of updates vs creates.")
@click.option("--topic", default="transactions", envvar="KAFKA_TRANSACTIONS_TOPIC", show_default=True)
def main(count: int, user_id: str, kafka_servers: str, update_ratio: float, topic: str) -> None:
    """Publish synthetic transactions to Kafka."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        load = LoadOptions(count=count, user_id=user_id, update_ratio=update_ratio)
        connection = connection_from(os.environ, kafka_servers)
    except OptionError as error:
        raise click.BadParameter(str(error), param_hint=error.option) from error
    except KafkaSettingError as error:
        raise click.UsageError(str(error)) from error
    say = lambda line: click.echo(line, err=True)  # noqa: E731
    try:
        counts = asyncio.run(publish(generate(load), load.run, connection, PublishOptions(topic=topic), say=say))
    except (KafkaUnavailableError, PublishError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    click.echo(f"{counts.acknowledged} events acknowledged in {counts.seconds:.1f} s ({counts.rate:.0f}/s)")
