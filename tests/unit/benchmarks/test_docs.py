"""The measured parts of the page on performance, and its pictures."""

import re
from xml.etree import ElementTree as ET

import pytest

from bench import docs, plot, results
from bench.results import Machine, Results, Topic
from bench.run import Run, Sample

MACHINE = Machine(2, "a processor", "CPython 3.11.7", "Linux 6 x86_64", {"redis": "8.1"})


def run(part: str, candidate: str, microseconds: float, **more: object) -> Run:
    given = {"name": candidate, "events_per_second": 10_000.0, "calibration": 8.0, "peak_mib": 80.0, **more}
    return Run(part=part, candidate=candidate, round=1, microseconds=microseconds, **given)


def made(*runs: Run, topics: list[Topic] | None = None) -> Results:
    return Results("2026-01-01T00:00:00+00:00", MACHINE, results.reference(runs), list(runs), topics or [])


def growing(part: str, costs: dict[float, float]) -> list[Run]:
    return [run(part, "indexer", cost, name=f"{x}", x=x) for x, cost in costs.items()]


PEERS = (
    run("blackhole", "naive", 45.0),
    run("blackhole", "indexer", 15.0),
    run("blackhole", "franz", 15.0, failure="Go"),
)


def test_programs_are_listed_from_the_cheapest_with_their_multiple_of_the_default():
    lines = docs.peers(results.rows(made(*PEERS))).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [
        "indexer, default settings",
        "aiokafka + async_bulk",
    ]
    assert lines[3].endswith("| 3.0 |")


def test_goals_are_held_against_what_was_before_and_what_is():
    both = made(
        *PEERS, run("blackhole", "before", 100.0), run("blackhole", "indexer-1000", 14.0, loop_lag_most_ms=25.0)
    )
    lines = docs.goals(results.rows(both)).splitlines()
    assert "| CPU µs/event, default settings with a backlog | 100.0 | 15.0 | ≤ 17 |" in lines
    assert "| CPU µs/event, batches of 1,000 |  | 14.0 | ≤ 15 |" in lines
    assert "| cheapest of naive, FastStream and Quix, as a multiple of the default | 0.5 | 3.0 | ≥ 3 |" in lines
    assert "| event loop late at most (ms), batches of 1,000 |  | ≤ 25 | ≤ 20 |" in lines


def test_a_share_of_the_limit_is_one_of_events_a_second():
    found = made(
        run("elasticsearch", "limit", 1.0, events_per_second=10_000.0),
        run("elasticsearch", "indexer", 20.0, events_per_second=9_500.0),
    )
    assert "| indexer, default settings | 9,500 | 9,500 to 9,500 | 95% | 20.0 |" in docs.indexed(results.rows(found))


def test_growth_has_a_line_for_each_axis_that_was_measured():
    found = made(*growing("growth-partitions", {1: 10.0, 16: 10.0, 256: 10.0}))
    assert docs.growth(found).splitlines()[2:] == [
        "| partitions | 1 … 256 | 10.0 … 10.0 | 0.00 | flat | none |",
    ]


def test_a_dead_letter_costs_what_the_storm_costs_beyond_its_valid_events():
    found = made(*growing("growth-invalid", {0: 20.0, 50: 30.0}))
    assert "| a dead letter, where 50 % invalid events come as well | 50.0 µs |" in docs.others(found)


def test_the_load_generator_is_shown_by_its_largest_topic():
    found = made(*PEERS, topics=[Topic(10, 5_620, 90.0, 1.0), Topic(1_000, 562_000, 11.0, 70_000.0)])
    assert "| `activity-loadgen`, 1,000 events of 562 bytes | 11.0 µs/event, 70,000 events/s |" in docs.others(found)


def test_only_what_stands_between_the_marks_is_replaced():
    page = "by hand\n<!-- make bench-docs: peers -->\nold\n<!-- end: peers -->\nby hand too\n"
    assert docs.replaced(page, {"peers": "new \\1"}) == page.replace("old", "new \\1")


def test_a_page_without_a_mark_is_refused():
    with pytest.raises(ValueError, match="make bench-docs: growth"):
        docs.replaced("nothing", {"growth": "new"})


def test_the_page_has_a_place_for_everything():
    page = docs.PAGE.read_text(encoding="utf-8")
    assert docs.replaced(page, dict.fromkeys(docs.parts(made(*PEERS)), "x")) != page


def test_every_picture_of_the_page_is_one_that_is_drawn():
    page = docs.PAGE.read_text(encoding="utf-8")
    wanted = set(re.findall(r"images/performance/([\w-]+\.svg)", page))
    assert wanted == {"peers.svg", "growth-events.svg", *(f"{part}.svg" for part in plot.AXES)}


def test_later_results_replace_the_parts_that_they_have():
    first = made(run("blackhole", "naive", 45.0), run("elasticsearch", "indexer", 20.0))
    later = made(run("blackhole", "naive", 40.0))
    assert [(one.part, one.microseconds) for one in results.combined([first, later]).runs] == [
        ("elasticsearch", 20.0),
        ("blackhole", 40.0),
    ]


def test_pictures_are_well_formed_and_show_what_was_measured():
    samples = tuple(Sample(count, count * 20e-6, 1.0, 90.0) for count in (5_000, 10_000, 100_000))
    found = made(
        *PEERS,
        *growing("growth-size", {230: 10.0, 562: 11.0, 65_536: 90.0}),
        *growing("growth-ties", {0: 10.0, 50: 30.0}),
        run("growth-events", "indexer", 20.0, samples=samples),
    )
    drawn = plot.pictures(found)
    assert set(drawn) == {"peers.svg", "growth-size.svg", "growth-ties.svg", "growth-events.svg"}
    for text in drawn.values():
        assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - made here
    assert "15.0 µs, 10 k/s" in drawn["peers.svg"]
    assert "65,536" in drawn["growth-size.svg"]
    assert plot.pictures(found) == drawn


def test_the_cost_on_the_way_is_that_between_two_samples():
    samples = tuple(Sample(count, cpu, 1.0, 90.0) for count, cpu in ((1_000, 0.1), (20_000, 0.48), (40_000, 0.98)))
    marks = plot.on_the_way(made(run("growth-events", "indexer", 20.0, samples=samples)))
    assert [(mark.x, pytest.approx(mark.y)) for mark in marks] == [(20_000, 20.0), (40_000, 25.0)]


@pytest.mark.parametrize(("most", "expected"), [(100, [0, 20, 40, 60, 80, 100]), (47.2, [0, 10, 20, 30, 40])])
def test_ticks_are_round(most, expected):
    assert plot.ticks(most) == expected
