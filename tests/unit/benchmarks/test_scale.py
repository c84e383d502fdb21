"""The arithmetic and the simulation behind docs/scale.md."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import scale

ROOT = Path(__file__).parents[3]
DEFAULT = scale.Numbers()
RATES = (10_000, 100_000, 1_000_000)


def test_the_page_has_the_tables_of_the_script() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    plans = [scale.plan(rate) for rate in RATES]
    found = [scale.play(story, 1e6, plans[-1].processes * 50_000) for story in scale.stories(plans[-1].processes)]
    for shown in (scale.plans_table(plans), scale.limits_table(), scale.stories_table(found)):
        assert shown in page


def test_a_plan_by_hand() -> None:
    numbers = replace(DEFAULT, process_us=20, busy=0.5, redis_id_bytes=200, redis_gb=17.28, updates=0.0)
    found = scale.plan(100_000, numbers)
    assert (found.process_cores, found.processes, found.partitions) == (2.0, 4, 16)
    assert found.redis_day_gb == 1728.0
    assert found.redis_ttl_minutes == 14.4
    assert found.es_documents_per_day == 8_640_000_000
    assert found.es_vcpus == round(200_000 / 4_400 / 0.5, 1)
    assert found.pg_databases == 4


def test_each_part_grows_with_the_rate() -> None:
    plans = [scale.plan(rate) for rate in (1_000, *RATES)]
    for lower, higher in pairwise(plans):
        assert higher.partitions >= lower.partitions
        assert higher.es_shards > lower.es_shards
        assert higher.redis_ttl_minutes < lower.redis_ttl_minutes
        assert higher.es_index_full_days < lower.es_index_full_days


@pytest.mark.parametrize("rate", [1, 999, 12_345, 1_000_000, 7_654_321])
def test_partitions_are_shared_out_evenly(rate: int) -> None:
    found = scale.plan(rate)
    assert found.partitions % found.processes == 0
    assert found.processes * DEFAULT.busy * 1e6 / DEFAULT.process_us >= rate


def test_a_shard_holds_no_more_documents_than_lucene_can() -> None:
    tiny = replace(DEFAULT, es_document_bytes=1, es_shard_documents=10**12)
    found = scale.plan(1_000_000, tiny)
    assert found.es_shards == -(-(found.es_documents_per_day * 30) // scale.LUCENE_DOCUMENTS)


def test_limits_come_in_the_order_in_which_parts_break() -> None:
    found = list(scale.limits().values())
    assert found == sorted(found)
    assert next(iter(scale.limits())).startswith("Redis of 64 GB, ids of 24 h")


def test_what_waited_is_caught_up_with_by_what_the_group_has_left() -> None:
    story = scale.Story("", (scale.Stop(0, 10),))
    found = scale.play(story, rate=1_000, capacity=2_000)
    assert found.longest_wait_seconds == pytest.approx(10, abs=0.2)
    assert found.most_events_behind == pytest.approx(10_000, rel=0.02)
    assert found.over_after_seconds == pytest.approx(20, abs=0.3)


def test_a_group_without_reserves_never_catches_up() -> None:
    found = scale.play(scale.Story("", (scale.Stop(0, 10),)), rate=1_000, capacity=1_000, until=100)
    assert found.over_after_seconds is None


def test_a_stop_of_some_partitions_leaves_the_others_alone() -> None:
    story = scale.Story("", (scale.Stop(0, 10, everywhere=False),), share=0.1)
    found = scale.play(story, rate=1_000, capacity=2_000)
    assert found.longest_wait_seconds == pytest.approx(10, abs=0.2)
    assert found.most_events_behind == pytest.approx(1_000, rel=0.02)


def test_a_rolling_update_stops_the_group_twice_for_each_step() -> None:
    one_by_one = next(story for story in scale.stories(20) if "one process after" in story.name)
    quarters = next(story for story in scale.stories(20) if "quarter" in story.name)
    assert (len(one_by_one.stops), len(quarters.stops)) == (40, 8)
    for stops in (one_by_one.stops, quarters.stops):
        assert all(before.at + before.seconds <= after.at + 1e-6 for before, after in pairwise(stops))


def test_the_command_prints_json_that_takes_other_numbers() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "scale.py"), "--json", "--rate", "5000"]
    found = json.loads(subprocess.run([*command, "--set", "process_us=10"], check=True, capture_output=True).stdout)
    assert found["numbers"]["process_us"] == 10
    assert [each["rate"] for each in found["plans"]] == [5_000]
    assert found["limits"]["one indexer process, a core at full load"] == 100_000
    assert len(found["stops"]) == len(scale.stories(2))
