"""When failures stop being the exception."""

from collections import Counter

import pytest

from activity_indexer.breaker import Breaker


def breaker(threshold: float = 0.5, window: int = 100, min_failures: int = 10) -> Breaker:
    return Breaker(threshold, window, min_failures)


def test_it_stays_closed_while_failures_are_few() -> None:
    subject = breaker()
    assert not any(subject.record(10, 5) for _ in range(50))
    assert subject.share == 0.5


def test_it_opens_when_more_than_the_share_fails() -> None:
    subject = breaker()
    assert not subject.record(10, 5)
    assert subject.record(10, 6)
    assert subject.is_open


def test_a_few_failures_at_the_start_open_nothing() -> None:
    subject = breaker(min_failures=10)
    assert not subject.record(9, 9)
    assert subject.record(1, 1)


def test_a_threshold_of_one_never_opens() -> None:
    subject = breaker(threshold=1.0)
    assert not any(subject.record(10, 10) for _ in range(50))
    assert not subject.record_enriched(Counter(card=100), Counter(card=100))


def test_what_left_the_window_is_forgotten() -> None:
    subject = breaker(window=100, min_failures=10)
    subject.record(9, 9)
    for _ in range(10):
        subject.record(10, 0)
    assert subject.share == 0.0
    assert not subject.record(9, 9)


def test_good_batches_do_not_close_it() -> None:
    subject = breaker()
    subject.record(20, 20)
    assert subject.record(1000, 0)


def test_closed_again_nothing_is_held_against_it() -> None:
    subject = breaker()
    subject.record(20, 20)
    subject.close()
    assert not subject.is_open
    assert subject.share == 0.0
    assert not subject.record(9, 9)


def test_given_up_the_next_failure_opens_it() -> None:
    subject = breaker()
    subject.record(20, 20)
    subject.give_up()
    assert not subject.is_open
    assert not subject.record(5, 0)
    assert subject.record(5, 1)


def test_half_open_one_poll_is_let_in() -> None:
    subject = breaker()
    assert subject.lets_in()
    subject.record(20, 20)
    assert not subject.lets_in()
    subject.half_open()
    assert subject.lets_in()
    subject.polled(0)
    assert subject.lets_in()
    subject.polled(1)
    assert not subject.lets_in()
    assert subject.is_open


@pytest.mark.parametrize(("events", "failures", "stays"), [(10, 0, False), (10, 5, False), (10, 6, True), (0, 0, True)])
def test_half_open_it_closes_when_a_batch_passes(events: int, failures: int, stays: bool) -> None:
    subject = breaker(window=20)
    subject.record(20, 20)
    subject.half_open()
    assert subject.record(events, failures) is stays
    assert subject.is_open is stays


def test_one_type_whose_enrichment_fails_nearly_always_opens_it() -> None:
    subject = breaker()
    assert not subject.record_enriched(Counter(card=9, p2p=100), Counter(card=9))
    assert subject.watches_types
    assert subject.record_enriched(Counter(card=3, p2p=100), Counter(card=3))
    assert subject.share == 1.0


def test_a_type_of_which_some_pass_opens_nothing() -> None:
    subject = breaker()
    assert not any(subject.record_enriched(Counter(card=10), Counter(card=9)) for _ in range(10))


def test_a_type_that_passes_again_is_watched_no_more() -> None:
    subject = breaker(window=20)
    subject.record_enriched(Counter(card=10), Counter(card=5))
    for _ in range(3):
        subject.record_enriched(Counter(card=10), Counter())
    assert not subject.watches_types


def test_it_bears_failures_up_to_the_share() -> None:
    assert breaker().bears(10, 5)
    assert not breaker().bears(10, 6)
    assert breaker().bears(10, 0)


def test_nothing_recorded_is_no_share() -> None:
    assert breaker().share == 0.0
