"""What the system reports about a process: CPU time of all its threads, and memory."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICK: Final = os.sysconf("SC_CLK_TCK")
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_NOW: Final = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of a process since its start, and of children that it waited for."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system

    def __sub__(self, other: Usage) -> Usage:
        """What was used since then."""
        return Usage(self.user - other.user, self.system - other.system)


def parse_usage(stat: str) -> Usage:
    """From the text of /proc/PID/stat: the name may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    user, system, waited_user, waited_system = (int(field) / TICK for field in fields[11:15])
    return Usage(user + waited_user, system + waited_system)


def usage(pid: int) -> Usage:
    """Of a process that runs."""
    return parse_usage(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))


def parse_memory(status: str) -> tuple[float, float]:
    """MiB now and at most, from the text of /proc/PID/status."""
    now, peak = _NOW.search(status), _PEAK.search(status)
    if now is None or peak is None:
        raise ValueError("expected VmRSS and VmHWM in the status of a process, got neither: has it ended?")
    return int(now[1]) / 1024, int(peak[1]) / 1024


def memory(pid: int) -> tuple[float, float]:
    """MiB of a process that runs, now and at most."""
    return parse_memory(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))


def processor_name() -> str:
    """Of this machine, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
