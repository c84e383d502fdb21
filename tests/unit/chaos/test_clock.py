"""A moved clock is seen by everything in the process that asks for the time, and time goes on from there."""

import subprocess
import sys
import time
from pathlib import Path

from chaos.clock import Clock

QUESTION = """
import sys, time
real, monotonic = time.time(), time.monotonic()
from chaos.clock import install
install(__import__('pathlib').Path(sys.argv[1]))
input()
print(time.time() - real, time.monotonic() - monotonic)
"""


def test_the_wall_clock_jumps_while_the_process_runs_and_the_monotonic_one_does_not(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    folder = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", QUESTION, str(clock.file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": folder},
    ) as process:
        time.sleep(0.3)
        clock.move(-7200.0)
        output, _ = process.communicate("go\n", timeout=10)
    wall, monotonic = map(float, output.split())
    assert -7200.5 < wall - monotonic < -7199.5
