"""Class archives: what a server's first run recorded becomes an archive, in the background and in one step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from activity_stack.processes import Launch, spawn

if TYPE_CHECKING:
    from activity_stack.java import Training
    from activity_stack.server import Server

ASSEMBLE = 'nice "$@" && mv -f "$MADE" "$KEPT"; rm -f "$MADE" "$RECORDED"'
"""It takes Java a while, which is not waited for: starts in the meantime are slower, that is all."""


def recording(server: Server) -> str:
    """The file that a server started now writes at its end; empty if its archive is there, or it has none."""
    training = server.training()
    if training is None or training.kept.exists():
        return ""
    training.written.unlink(missing_ok=True)
    return str(training.written)


def finish(server: Server, recorded: Path, log: Path) -> None:
    """Make the archive of what a server recorded until it ended by itself."""
    training = server.training()
    if training is None or not recorded.exists():
        return
    command = server.assemble_command()
    if training.kept.exists():
        recorded.unlink()
    elif command:
        _assemble(training, command, recorded, log)
    else:
        recorded.replace(training.kept)


def _assemble(training: Training, command: tuple[str, ...], recorded: Path, log: Path) -> None:
    own = recorded.with_name(training.made.name)
    recorded.rename(own)
    words = [word.replace(str(recorded), str(own)) for word in command]
    env = {"MADE": str(training.made), "KEPT": str(training.kept), "RECORDED": str(own)}
    spawn(Launch(("/bin/sh", "-c", ASSEMBLE, "sh", *words), env), log)
