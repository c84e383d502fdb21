"""Prometheus' own tool, from PATH or from its image."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

IMAGE = "prom/prometheus:v2.42.0"
MISSING = f"needs promtool, or a Docker engine with the image {IMAGE} (`docker pull {IMAGE}`)"


def command(folder: Path) -> Sequence[str] | None:
    """promtool as it is called on the files of a folder, its working directory; None where it cannot be had."""
    if (found := shutil.which("promtool")) is not None:
        return (found,)
    if shutil.which("docker") is None:
        return None
    asked = subprocess.run(("docker", "image", "inspect", IMAGE), capture_output=True, check=False)
    if asked.returncode:
        return None
    return (
        *("docker", "run", "--rm", "--network", "none", "--user", f"{os.getuid()}:{os.getgid()}"),
        *("--volume", f"{folder}:/rules", "--workdir", "/rules", "--entrypoint", "promtool", IMAGE),
    )


def run(tool: Sequence[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished tool, with all that it says in `stdout`."""
    return subprocess.run(
        (*tool, *arguments), cwd=folder, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def tested(tool: Sequence[str], folder: Path, name: str) -> str:
    """What is wrong in a file of rule tests; empty: nothing."""
    done = run(tool, folder, "test", "rules", name)
    return done.stdout if done.returncode else ""
