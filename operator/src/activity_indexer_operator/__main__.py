"""The command line: `activity-indexer-operator`."""

from __future__ import annotations

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="activity-indexer")
def main() -> None:
    """Run what ActivityIndexer and DeadLetterReplay resources ask for, until SIGTERM.

    All settings are environment variables: OPERATOR_… and OTEL_….

    \b
    Exit codes:
      0  ended by SIGTERM
      2  wrong usage: a setting is wrong, or there is no cluster
    """  # noqa: D301 - a backspace keeps the lines of a paragraph
    from activity_indexer_operator.app import run  # noqa: PLC0415 - kopf and kubernetes take a second

    run()


if __name__ == "__main__":
    main()
