"""Which timestamps of records are believed."""

import pytest
from fixtures.events import NOW
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.published import EARLIEST, MAX_AHEAD, ages, published_at


@pytest.mark.parametrize("age", [0.0, 0.5, 3600.0, 86_400.0 * 365])
def test_what_was_published_some_time_ago_is_believed(age: float) -> None:
    assert published_at(int((NOW - age) * 1000), NOW) == pytest.approx(NOW - age)


def test_a_clock_that_is_a_little_ahead_says_now() -> None:
    assert published_at(int((NOW + MAX_AHEAD) * 1000), NOW) == NOW
    assert published_at(int((NOW + MAX_AHEAD) * 1000) + 1, NOW) is None


@given(st.one_of(st.integers(-(2**63), EARLIEST - 1), st.floats(0, NOW + 10**9).map(int)))
def test_no_time_and_a_time_in_seconds_are_not_believed(timestamp: int) -> None:
    assert published_at(timestamp, NOW) is None


@given(st.floats(NOW / 2, NOW + 10**9), st.sampled_from([10**6, 10**9]))
def test_a_time_in_smaller_units_is_not_believed(seconds: float, unit: int) -> None:
    assert published_at(int(seconds * unit), NOW) is None


@given(st.integers(-(2**63), 2**63 - 1))
def test_no_age_is_negative_or_older_than_kafka(timestamp: int) -> None:
    found = published_at(timestamp, NOW)
    assert found is None or EARLIEST / 1000 <= found <= NOW


@given(
    st.lists(
        st.one_of(st.sampled_from([-1, 0, EARLIEST]), st.floats(NOW - 9e8, NOW + 9000).map(lambda at: int(at * 1000)))
    )
)
def test_the_ages_of_a_batch_are_those_of_its_records(timestamps: list[int]) -> None:
    published = [at for each in timestamps if (at := published_at(each, NOW)) is not None]
    assert ages(timestamps, NOW) == pytest.approx([NOW - at for at in published])
