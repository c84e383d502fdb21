"""The promises under faults: a short fixed choice of what `make chaos` does."""

from pathlib import Path

import pytest
from chaos.run import Load, run
from chaos.schedule import Plan, plan_of
from fixtures.servers.place import Servers

pytestmark = pytest.mark.integration

LOAD = Load(events=5000, rate=400)
MIXTURES = {
    "elasticsearch and its network": ["elasticsearch killed", "connections half-closed", "redis killed"],
    "kafka and the group": ["broker restarted", "rebalance storm", "partitions added", "indexer killed"],
    "zombies and clocks": ["indexer frozen", "clock moved", "redis flushed", "postgres killed"],
    "gateways and bystanders": [
        "gateway pages",
        "transaction open",
        "redis full",
        "ports flooded",
        "postgres restored",
    ],
    "an index of another's": ["index rolled over", "redis read-only", "nothing but gateway pages"],
    "dead letters and disks": [
        "dead letters short of replicas",
        "postgres full",
        "index read-only",
        "indexer terminated",
    ],
}


def planned(name: str) -> Plan:
    """The mixture's plan, always the same."""
    return plan_of(MIXTURES[name], list(MIXTURES).index(name), LOAD.duration)


def test_every_fault_of_the_mixtures_finds_its_time() -> None:
    for name, faults in MIXTURES.items():
        assert sorted(planned(name).names) == sorted(faults)


@pytest.mark.parametrize("name", MIXTURES)
async def test_no_promise_is_broken(own_servers: Servers, tmp_path: Path, name: str) -> None:
    outcome = await run(own_servers.stack, planned(name), LOAD, tmp_path)
    assert not outcome.anomalies, outcome.witnesses
    assert not outcome.problems, "\n".join([*outcome.problems, *outcome.notes])
    assert outcome.events > 0.9 * LOAD.events
    assert outcome.observations > 3
    assert outcome.dead_letters > 0
    assert outcome.ties > 100
    assert outcome.recovery < 60
