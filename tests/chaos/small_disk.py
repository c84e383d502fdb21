"""PostgreSQL's data on a disk that is small enough to be filled: a tmpfs, where this user may mount one."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import cast

from activity_stack import Stack

SIZE = "400m"
BALLAST = "ballast"
BLOCK = bytes(1024 * 1024)
SETTINGS = "\nmax_wal_size = '64MB'\nmin_wal_size = '32MB'\n"
"""PostgreSQL keeps a gigabyte of log by default, which would fill the disk before a test does."""


def data_of(stack: Stack) -> Path:
    """PostgreSQL's data folder."""
    return cast("Path", stack.servers["postgres"].data)  # type: ignore[attr-defined]


def is_small(data: Path) -> bool:
    """Whether the folder is a disk of its own."""
    return data.is_mount()


def mount(stack: Stack) -> bool:
    """Move PostgreSQL, which runs, onto a small disk; whether that can be had here."""
    data = data_of(stack)
    if is_small(data):
        return True
    if os.geteuid() != 0:
        return False
    stack.stop("postgres")
    aside = data.with_name(f"{data.name}.aside")
    data.rename(aside)
    data.mkdir()
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(data))
    if mounted:
        _run("cp", "-a", f"{aside}/.", str(data))
        with (data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
    else:
        data.rmdir()
        aside.rename(data)
    stack.start("postgres")
    return mounted


def unmount(stack: Stack) -> None:
    """Put the data back where it was before; what was written meanwhile is forgotten."""
    data = data_of(stack)
    if not is_small(data):
        return
    stack.stop("postgres")
    _run("umount", str(data))
    aside = data.with_name(f"{data.name}.aside")
    if aside.exists():
        data.rmdir()
        aside.rename(data)


def fill(data: Path) -> None:
    """Leave not a byte."""
    try:
        with (data / BALLAST).open("wb", buffering=0) as file:
            while file.write(BLOCK):
                pass
    except OSError:
        return


def free(data: Path) -> None:
    """Leave as much as there was."""
    (data / BALLAST).unlink(missing_ok=True)


def _run(*command: str) -> bool:
    program = shutil.which(command[0])
    if program is None:
        return False
    return subprocess.run([program, *command[1:]], check=False, capture_output=True).returncode == 0
