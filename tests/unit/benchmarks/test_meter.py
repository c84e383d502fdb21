"""What the system reports about a process."""

import os

import pytest

from bench import meter
from bench.meter import Usage


def test_usage_counts_threads_and_children_that_were_waited_for():
    tick = meter.TICK
    stat = f"12 (a (odd) name) S 1 1 1 0 -1 4 1 2 3 4 {2 * tick} {tick} {3 * tick} {5 * tick} 20 0 1 0 99"
    assert meter.parse_usage(stat) == Usage(5.0, 6.0)
    assert meter.parse_usage(stat).total == 11.0


def test_usage_since_a_moment():
    assert Usage(5.0, 6.0) - Usage(1.0, 2.5) == Usage(4.0, 3.5)


def test_memory_is_read_now_and_at_its_peak():
    assert meter.parse_memory("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n") == (1.0, 2.0)


def test_a_process_that_has_ended_has_no_memory():
    with pytest.raises(ValueError, match="has it ended"):
        meter.parse_memory("Name:\tx\nState:\tZ (zombie)\n")


def test_this_process_can_be_read():
    now, peak = meter.memory(os.getpid())
    assert 0 < now <= peak
    assert meter.usage(os.getpid()).total > 0
