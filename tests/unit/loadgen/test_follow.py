"""How long events take until a search finds them."""

import msgspec

from activity_loadgen import follow
from activity_loadgen.expected import FinalEvent
from activity_loadgen.follow import Follower, percentile
from activity_loadgen.generate import generate
from activity_loadgen.ledger import Entry, entry_for
from activity_loadgen.options import LoadOptions
from activity_loadgen.state import State

(EVENT,) = generate(LoadOptions(count=1, seed=1, update_ratio=0))


def acked(transaction_id: str, version: int | None, acked_us: int) -> Entry:
    entry = entry_for("run", "transactions", EVENT, (0, 0), acked_us)
    return msgspec.structs.replace(entry, transaction_id=transaction_id, version=version, timestamp=version)


def at(version: int, *position: int) -> State:
    return State(version, (version, 0, *position) if position else None)  # type: ignore[arg-type]


def expected(version: int) -> FinalEvent:
    return FinalEvent(version, "created", (version, 0, 1, 0, 0), None, 1)


def test_the_time_is_from_the_acknowledgement_to_the_search_that_found_it() -> None:
    follower = Follower()
    follower.add(acked("a", 4, 1_000_000))
    follower.saw({}, 1_500_000)
    assert follower.latency() is None
    follower.saw({"a": at(4)}, 3_000_000)
    latency = follower.latency()
    assert latency is not None
    assert (latency.transactions, latency.p50, latency.longest) == (1, 2.0, 2.0)


def test_only_the_final_version_counts() -> None:
    follower = Follower()
    follower.add(acked("a", 4, 1_000_000))
    follower.saw({"a": at(4)}, 2_000_000)
    follower.add(acked("a", 9, 5_000_000))
    assert follower.latency() is None
    follower.saw({"a": at(4)}, 5_500_000)
    assert follower.waiting == 1
    follower.saw({"a": at(9)}, 5_750_000)
    latency = follower.latency()
    assert latency is not None
    assert (follower.waiting, latency.transactions, latency.p99) == (0, 1, 0.75)


def test_a_late_or_repeated_or_invalid_event_is_not_waited_for() -> None:
    follower = Follower()
    follower.add(acked("a", 9, 1_000_000))
    follower.saw({"a": at(9)}, 1_100_000)
    for version in (4, 9, None):
        follower.add(acked("a", version, 2_000_000))
    assert (follower.waiting, follower.total) == (0, 1)


def test_a_newer_version_than_the_one_waited_for_will_do() -> None:
    follower = Follower()
    follower.add(acked("a", 4, 1_000_000))
    follower.saw({"a": at(8)}, 1_200_000)
    assert follower.waiting == 0


def test_a_ledger_of_earlier_gives_no_times() -> None:
    follower = Follower(timed=False)
    follower.expect("a", expected(4))
    follower.saw({"a": at(4)}, 10_000_000)
    assert follower.latency() is None


def test_a_tie_is_waited_for_until_its_own_position_is_there() -> None:
    follower = Follower()
    first = acked("a", 4, 1_000_000)
    tie = msgspec.structs.replace(acked("a", 4, 2_000_000), offset=1, published=2_000, sha256="other")
    follower.add(first)
    follower.add(tie)
    follower.saw({"a": at(4, 1_000, 0, 0)}, 3_000_000)
    assert follower.waiting == 1
    follower.saw({"a": at(4, 2_000, 0, 1)}, 4_000_000)
    latency = follower.latency()
    assert latency is not None
    assert (follower.waiting, latency.longest) == (0, 2.0)


def test_a_copy_is_not_waited_for_again() -> None:
    follower = Follower()
    copy = msgspec.structs.replace(acked("a", 4, 1_000_000), offset=1, published=2_000)
    follower.add(copy)
    follower.add(acked("a", 4, 1_000_000))
    follower.saw({"a": at(4, 1_000, 0, 0)}, 3_000_000)
    follower.add(msgspec.structs.replace(copy, offset=2, published=3_000))
    assert (follower.waiting, follower.total) == (0, 1)


class OneThere:
    """An index where only one transaction is."""

    def __init__(self, there: str) -> None:
        self.there = there

    async def behind_alias(self) -> str:
        return "index"

    async def states(self, _: str, ids: list[str]) -> dict[str, State]:
        return {self.there: at(4)} if self.there in ids else {}


async def test_lost_ones_do_not_hide_the_others() -> None:
    follower = Follower()
    for number in range(3 * follow.IDS_PER_SEARCH):
        follower.expect(str(number), expected(4))
    last = str(3 * follow.IDS_PER_SEARCH - 1)
    for _ in range(3):
        await follower.poll(OneThere(last))  # type: ignore[arg-type]
    assert follower.waiting == 3 * follow.IDS_PER_SEARCH - 1


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 99) == 4.0
    assert percentile([7.0], 1) == 7.0
