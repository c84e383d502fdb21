from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from fixtures.clock import Clock
from fixtures.memory.cluster import NAMESPACE, FakeCluster

from activity_indexer_operator.kube.lease import LeaderElector
from activity_indexer_operator.kube.resources import LEASES

pytestmark = pytest.mark.simulated_time

DURATION = 0.12


class Work:
    """Works until it is stopped."""

    def __init__(self) -> None:
        self.begun = 0
        self.working = False

    async def __call__(self) -> None:
        self.begun += 1
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False

    async def until(self, working: bool) -> None:
        async with asyncio.timeout(1.5):
            while self.working is not working:  # noqa: ASYNC110 - it turns both ways
                await asyncio.sleep(0.01)


def lease(cluster: FakeCluster, identity: str) -> LeaderElector:
    return LeaderElector(cluster, NAMESPACE, "operator", identity, DURATION)


@asynccontextmanager
async def kept(lease: LeaderElector, worker: Work) -> AsyncIterator[None]:
    task = asyncio.create_task(lease.run(worker, asyncio.get_running_loop().time))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def holder(cluster: FakeCluster) -> str:
    body = cluster.of(LEASES, "operator")
    assert body is not None
    return str(body["spec"]["holderIdentity"])


def owner(cluster: FakeCluster) -> dict[str, str]:
    body = cluster.of(LEASES, "operator")
    assert body is not None
    [found] = body["metadata"]["ownerReferences"]
    return dict(found)


async def test_one_works_and_the_other_waits_until_the_first_gives_up() -> None:
    cluster, first, second = FakeCluster(), Work(), Work()
    async with kept(lease(cluster, "a"), first):
        await first.until(working=True)
        async with kept(lease(cluster, "b"), second):
            await asyncio.sleep(DURATION * 2)
            assert (first.working, second.working, holder(cluster)) == (True, False, "a")
    assert cluster.of(LEASES, "operator") is None, "given up, so that the next one needs not wait"
    async with kept(lease(cluster, "b"), second):
        await second.until(working=True)
        assert holder(cluster) == "b"


async def test_it_belongs_to_the_pod_that_holds_it_and_goes_with_it() -> None:
    cluster, clock = FakeCluster(), Clock()
    first = LeaderElector(cluster, NAMESPACE, "operator", "a", DURATION, pod_uid="uid-a")
    second = LeaderElector(cluster, NAMESPACE, "operator", "b", DURATION, pod_uid="uid-b")
    assert await first._acquire(clock)
    assert owner(cluster) == {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "uid-a"}
    assert not await second._acquire(clock)
    clock.now = DURATION
    assert await second._acquire(clock)
    assert owner(cluster)["name"] == "b"


async def test_what_another_holds_by_now_is_not_taken_away() -> None:
    cluster, clock = FakeCluster(), Clock()
    first, second = lease(cluster, "a"), lease(cluster, "b")
    assert await first._acquire(clock)
    assert not await second._acquire(clock)
    clock.now = DURATION
    assert await second._acquire(clock)
    await first._release()
    assert holder(cluster) == "b"


async def test_a_holder_that_renews_nothing_is_succeeded() -> None:
    cluster, worker, clock = FakeCluster(), Work(), Clock()
    dead = lease(cluster, "dead")
    assert await dead._acquire(clock)
    waiting = lease(cluster, "next")
    assert not await waiting._acquire(clock)
    clock.now = DURATION / 2
    assert not await waiting._acquire(clock)
    clock.now = DURATION
    assert await waiting._acquire(clock)
    assert (holder(cluster), worker.working) == ("next", False)


async def test_who_cannot_renew_stops_to_work_before_others_may_begin_and_goes_on_later() -> None:
    cluster, worker = FakeCluster(), Work()
    async with kept(lease(cluster, "a"), worker):
        await worker.until(working=True)
        cluster.down = True
        await worker.until(working=False)
        cluster.down = False
        await worker.until(working=True)
    assert worker.begun == 2


async def test_two_that_want_it_at_once_are_distinguished_by_the_api_server() -> None:
    cluster = FakeCluster()
    found = await asyncio.gather(lease(cluster, "a")._acquire(Clock()), lease(cluster, "b")._acquire(Clock()))
    assert sorted(found) == [False, True]
