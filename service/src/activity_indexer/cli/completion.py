"""`activity-indexer completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from activity_common.exit_codes import Exit
from activity_indexer.cli.help import epilog

SHELLS = ("bash", "zsh", "fish")

EPILOG = epilog(
    "completion bash > ~/.local/share/bash-completion/completions/activity-indexer",
    'completion zsh > "${fpath[1]}/_activity-indexer"',
    "completion fish > ~/.config/fish/completions/activity-indexer.fish",
    codes={Exit.FAILED: None, Exit.WRONG_USAGE: "wrong usage: an unknown shell"},
)


@click.command("completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands and options.

    For the shell at hand only: eval "$(activity-indexer completion bash)".
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"expected one of {', '.join(SHELLS)}, got {shell}")
    name = "activity-indexer"
    script = found(context.find_root().command, {}, name, "_ACTIVITY_INDEXER_COMPLETE").source()
    click.echo(script.rstrip("\n"))
