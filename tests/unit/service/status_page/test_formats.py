import pytest

from activity_indexer.status_page.formats import clock, count, duration, percent, rate


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "\u2013"),
        (0.0123, "12 ms"),
        (1.5, "1.5 s"),
        (119, "119 s"),
        (600, "10 min"),
        (7200, "2 h"),
        (864_000, "10.0 days"),
    ],
)
def test_a_length_of_time_is_in_its_sensible_unit(seconds, shown):
    assert duration(seconds) == shown


def test_numbers_are_readable():
    assert count(1_234_567) == "1\u202f234\u202f567"
    assert rate(0.123) == "0.12"
    assert rate(1234.5) == "1\u202f234"
    assert percent(0.256) == "26%"
    assert clock(0) == "00:00:00 UTC"
    assert count(None) == clock(None) == "\u2013"
