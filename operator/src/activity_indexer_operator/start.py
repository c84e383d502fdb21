"""Starts the operator with all of its parts: settings, the connection to the cluster, then work until SIGTERM."""

from __future__ import annotations

import asyncio
import os

import click

from activity_indexer_operator.app import run
from activity_indexer_operator.indexer.controller import indexer_part
from activity_indexer_operator.kube.connection import NoConnectionError, connect
from activity_indexer_operator.logs import configure
from activity_indexer_operator.replay.controller import replay_part
from activity_indexer_operator.settings import SettingsError, load_settings

EXIT_USAGE = 2
PARTS = (indexer_part, replay_part)


def start() -> None:
    """Run until SIGTERM. Exits with code 2 when a setting is wrong or there is no cluster."""
    try:
        settings = load_settings(os.environ)
        configuration = asyncio.run(connect())
    except (SettingsError, NoConnectionError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(EXIT_USAGE) from None
    configure(settings.log_level)
    run(settings, configuration, PARTS)
