import pytest

from activity_indexer.status_page.history import SPAN, History, Sample


def sample(at, **values):
    return Sample(at, **({"age_bounds": (1.0, 2.0), "ages": (0, 0, 0)} | values))


def history(*samples):
    kept = History()
    for each in samples:
        kept.add(each)
    return kept


def test_a_rate_is_what_was_settled_in_the_time_between():
    step = history(sample(0, settled={"indexed": 5}), sample(10, settled={"indexed": 20, "late": 5})).since(60)
    assert step.rate == 2.0


def test_samples_older_than_the_span_are_forgotten():
    kept = history(*(sample(at) for at in range(0, 10_000, 10)))
    assert kept.last.at - kept.first.at == SPAN
    assert len(kept) == SPAN / 10 + 1


def test_since_covers_no_more_than_was_asked_for():
    kept = history(*(sample(at, settled={"indexed": at**2}) for at in range(0, 100, 10)))
    assert kept.since(20).seconds == 20
    assert kept.since(20).settled == 90**2 - 70**2


def test_with_one_sample_nothing_has_happened():
    step = history(sample(7, settled={"indexed": 5})).since(60)
    assert (step.rate, step.settled, step.seconds, step.age(0.99)) == (0, 0, 0, None)


def test_ages_are_those_of_the_events_between_the_samples():
    step = history(sample(0, ages=(1000, 0, 0)), sample(10, ages=(1000, 10, 0))).since(60)
    assert step.age(0.5) == pytest.approx(1.5)


def test_a_cause_was_last_seen_when_its_count_last_grew():
    one, two = ("decode", "invalid_json"), ("index", "mapping")
    kept = history(
        sample(0),
        sample(10, dead_letters={one: 1}),
        sample(20, dead_letters={one: 1, two: 3}),
        sample(30, dead_letters={one: 1, two: 3}),
    )
    assert kept.last_seen() == {one: 10, two: 20}


def test_an_empty_history_has_no_steps():
    assert list(History().steps()) == []
    assert History().since(60).rate == 0
