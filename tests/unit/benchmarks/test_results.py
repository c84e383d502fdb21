"""What runs amount to, as a table and as a file."""

import pytest

from bench import results
from bench.meter import Usage
from bench.plan import Case, Load
from bench.results import Machine, Results
from bench.run import Counts, Reading, Run, Sample, Watched, measured, parse_loop_lag
from bench.servers import Published

MACHINE = Machine(2, "a processor", "CPython 3.11.7", "Linux 6 x86_64", {})


def run(name: str = "naive", **more: object) -> Run:
    given = {"microseconds": 40.0, "calibration": 8.0, "events_per_second": 20_000.0, "peak_mib": 80.0, **more}
    return Run(part=str(given.pop("part", "blackhole")), name=name, candidate=name, round=1, **given)


def made(*runs: Run) -> Results:
    return Results("2026-01-01T00:00:00+00:00", MACHINE, results.reference(runs), list(runs))


def test_costs_are_given_at_the_machines_fastest():
    found = made(run(calibration=8.0), run(microseconds=60.0, calibration=12.0))
    (row,) = results.rows(found)
    assert found.reference == 8.0
    assert row.cost is not None
    assert (row.cost.median, row.cost.least, row.cost.most) == (40.0, 40.0, 40.0)


def test_a_row_takes_the_worst_of_memory_and_lag():
    (row,) = results.rows(
        made(run(peak_mib=80.0, loop_lag_most_ms=5.0), run(peak_mib=90.0, loop_lag_most_ms=2.5, loop_lag_mean_ms=1.0))
    )
    assert (row.peak_mib, row.lag_most_ms, row.lag_mean_ms) == (90.0, 5.0, 1.0)


def test_the_table_is_no_wider_than_a_terminal():
    long = run("a candidate with a name that is much too long for it", loop_lag_most_ms=10_000.0, microseconds=12345.6)
    text = results.table(made(long, run("franz", failure="Go is not installed" * 9, calibration=0.0)))
    assert max(map(len, text.splitlines())) <= results.WIDTH
    assert "Go is not installed" in text


def test_the_table_says_how_a_cost_grows():
    grows = [run(f"{x} bytes", part="growth-size", x=x, microseconds=float(x)) for x in (10, 100, 1_000)]
    assert "linear or less: exponent 1.00" in results.table(made(*grows))


def test_an_amount_of_zero_has_no_place_on_a_logarithmic_axis():
    grows = [run(str(x), part="growth-invalid", x=float(x)) for x in (0, 5, 50)]
    assert [point.x for point in results.points(results.rows(made(*grows)), "growth-invalid")] == [5, 50]


def test_growth_over_events_is_taken_from_samples_of_the_longest_run():
    taken = tuple(Sample(count, count * 20e-6, 1.0, 90.0) for count in (1_000, 10_000, 100_000))
    found = made(run(part="growth-events", events=100, samples=taken), run(part="growth-events", events=10))
    grows = results.grown(found, "growth-events")
    assert grows is not None
    assert grows.exponent == pytest.approx(1.0)


def test_what_was_saved_is_loaded(tmp_path):
    found = made(run(), run("franz", failure="Go is not installed"))
    results.save(found, tmp_path / "folder" / "results.json")
    assert results.load(tmp_path / "folder" / "results.json") == found


def test_nothing_of_this_machine_names_it():
    here = results.machine({"elasticsearch": "9.1.0"})
    assert here.cores >= 1
    assert here.versions["elasticsearch"] == "9.1.0"


PUBLISHED = Published("topic", events=3_000, documents=2_000, bytes=1, cpu_microseconds=1.0, events_per_second=1.0)


def reading(at: float, documents: int, cpu: float) -> Reading:
    return Reading(at, Counts(documents, documents // 10, 0, 2), Usage(cpu, 0.0), 90.0, 100.0)


def watched(*readings: Reading, warm: int = 500) -> Watched:
    seen = Watched(Case("blackhole", "naive", "naive", Load(3_000), warm=warm), PUBLISHED.documents, 0.0)
    for one in readings:
        seen.saw(one)
    seen.calibrations.append(8.0)
    return seen


def test_a_run_is_measured_from_when_it_is_warm_by_the_events_of_its_documents():
    found = measured(
        watched(reading(1.0, 0, 1.0), reading(2.0, 500, 2.0), reading(4.0, 1_500, 2.03)), PUBLISHED, (None, None), 0
    )
    assert found["events"] == 1_500
    assert found["microseconds"] == pytest.approx(20.0)
    assert found["events_per_second"] == 750
    assert found["first_document_seconds"] == 2.0
    assert found["documents_per_request"] == 10.0


def test_a_run_without_documents_has_failed():
    assert "0 documents of 2000 came; exit code 1" in measured(watched(), PUBLISHED, (None, None), 1)["failure"]


def test_documents_that_were_sent_again_and_again_are_no_measurement():
    found = measured(watched(reading(2.0, 500, 2.0), reading(4.0, 9_000, 2.1)), PUBLISHED, (None, None), 0)
    assert found["failure"] == "9000 documents came of 2000"


def test_a_run_is_over_when_all_came_or_nothing_comes_any_more():
    seen = watched(reading(2.0, 500, 2.0))
    assert not seen.is_over(3.0)
    assert seen.is_over(4.5)
    seen.saw(reading(5.0, 2_000, 2.0))
    assert seen.is_over(5.0)


def test_the_lag_of_the_event_loop_is_read_from_the_metrics():
    name = "activity_indexer_event_loop_lag_seconds"
    text = (
        f'# HELP {name} text\n{name}_bucket{{le="0.005"}} 7.0\n{name}_bucket{{le="0.01"}} 10.0\n'
        f'{name}_bucket{{le="+Inf"}} 10.0\n{name}_count 10.0\n{name}_sum 0.02\n'
    )
    assert parse_loop_lag(text) == (2.0, 10.0)
    assert parse_loop_lag("other 1.0\n") == (None, None)
