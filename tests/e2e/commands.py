"""Programs that the end-to-end tests start, and what is needed for them to start at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
TAIL_CHARACTERS = 6_000

Found = TypeVar("Found")


class CommandFailedError(Exception):
    """A program ended with an exit code that was not expected."""


def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 300,
    check: bool = True,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Runs a program, at the project's root by default; its output is in the result, or in the error."""
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | dict(env or {}), input=stdin, timeout=timeout, check=False,
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    if check and done.returncode:
        output = (done.stdout + done.stderr)[-TAIL_CHARACTERS:]
        raise CommandFailedError(f"{' '.join(command)}: exit code {done.returncode}\n{output}")
    return done


def missing_program(*names: str) -> str | None:
    """Why these programs cannot be used: the first that is not installed."""
    return next((f"{name} is not installed" for name in names if shutil.which(name) is None), None)


def missing_engine() -> str | None:
    """Why containers cannot be run here."""
    if reason := missing_program("docker"):
        return reason
    if run("docker", "info", timeout=60, check=False).returncode:
        return "no Docker engine answers (`docker info` fails)"
    if run("docker", "compose", "version", timeout=60, check=False).returncode:
        return "docker has no compose plugin (`docker compose version` fails)"
    return None


def missing_image(*images: str) -> str | None:
    """Why these images cannot be used: the first that is neither here nor to be pulled."""
    for image in images:
        if run("docker", "image", "inspect", image, timeout=60, check=False).returncode == 0:
            continue
        try:
            pulled = run("docker", "pull", "--quiet", image, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            return f"image {image} is not here and could not be pulled within 10 minutes"
        if pulled.returncode:
            return f"image {image} is not here and cannot be pulled: {pulled.stderr.strip()[-200:]}"
    return None


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(look: Callable[[], Found | None], what: str, *, timeout: float = 120, interval: float = 1) -> Found:
    """What `look` finds, once it finds something true; its errors count as nothing found."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = found = look()
        except (CommandFailedError, OSError, ValueError) as error:
            last = error
        else:
            if found:
                return found
        time.sleep(interval)
    raise AssertionError(f"not within {timeout:g} s: {what}; last seen: {last!r}")


@contextlib.contextmanager
def port_forward(kubectl: tuple[str, ...], target: str, port: int) -> Iterator[str]:
    """An address on loopback that leads to a port of `target`, such as "service/elasticsearch"."""
    command = [*kubectl, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            local = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert local, f"kubectl port-forward {target} said {line!r}"
            yield f"http://127.0.0.1:{local[1]}"
        finally:
            process.terminate()
