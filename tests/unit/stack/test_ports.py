import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from activity_stack.errors import PortInUse
from activity_stack.ports import holder, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_free_port_is_accepted(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    require_free(free, "redis", "ACTIVITY_STACK_REDIS_PORT")


def test_a_taken_port_is_refused_with_the_port_the_process_and_the_way_out(taken: int) -> None:
    with pytest.raises(PortInUse) as refused:
        require_free(taken, "redis", "ACTIVITY_STACK_REDIS_PORT")
    program = Path("/proc/self/cmdline").read_text().split("\0")[0]
    for part in (f"127.0.0.1:{taken}", f"pid {os.getpid()} listens on it: {program}", "ACTIVITY_STACK_REDIS_PORT"):
        assert part in str(refused.value)


def test_no_process_holds_a_port_that_none_listens_on() -> None:
    assert holder(1) is None
