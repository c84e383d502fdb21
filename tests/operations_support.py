"""Runs commands of a day's operation on a test's own place, as people run them."""

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

from processes import ROOT
from support import Place, environment


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    def kinds(self) -> dict[str, str]:
        """The kind of each difference, by id."""
        return {line["id"]: line["kind"] for line in self.lines if "id" in line}


async def begun(place: Place, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    """The command, under way."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "activity_indexer",
        *arguments,
        cwd=ROOT,
        env=environment(place, {"CONSUMER_ENABLE_AUDIT_DB": "true", "COLUMNS": "80", **variables}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process, timeout: float = 120.0) -> Ended:
    """What came of it."""
    async with asyncio.timeout(timeout):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def called(place: Place, *arguments: str, **variables: str) -> Ended:
    """The command, to its end."""
    return await ended(await begun(place, *arguments, **variables))
