"""When failures stop being the exception."""

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


def test_half_open_the_next_failure_opens_it() -> None:
    subject = breaker()
    subject.record(20, 20)
    subject.half_open()
    assert not subject.is_open
    assert not subject.record(5, 0)
    assert subject.record(5, 1)


def test_it_bears_failures_up_to_the_share() -> None:
    assert breaker().bears(10, 5)
    assert not breaker().bears(10, 6)
    assert breaker().bears(10, 0)


def test_nothing_recorded_is_no_share() -> None:
    assert breaker().share == 0.0
