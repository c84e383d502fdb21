"""Starts the operator: `activity-indexer-operator`."""

from __future__ import annotations

import asyncio
import os
import sys

from activity_indexer_operator.app import run
from activity_indexer_operator.connection import NoConnectionError, connect
from activity_indexer_operator.indexer_part import indexer_part
from activity_indexer_operator.logs import configure
from activity_indexer_operator.replay_part import replay_part
from activity_indexer_operator.settings import SettingsError, load_settings

EXIT_USAGE = 2
PARTS = (indexer_part, replay_part)


def main() -> None:
    """Watches until SIGTERM; exit code 2 when a setting is wrong or there is no cluster."""
    try:
        settings = load_settings(os.environ)
        configuration = asyncio.run(connect())
    except (SettingsError, NoConnectionError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_USAGE) from None
    configure(settings.log_level)
    run(settings, configuration, PARTS)


if __name__ == "__main__":
    main()
