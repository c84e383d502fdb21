from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.status_page.plot import HEIGHT, WIDTH, Plot, nice_ceiling, runs, short_number


def drawn(points, title="Lag"):
    return ET.fromstring(Plot(title, "events", points, 0, 3600).svg())  # noqa: S314 - our own


def coordinates(svg, kind):
    return [
        tuple(float(number) for number in pair.split(","))
        for element in svg.iter(kind)
        for pair in element.attrib["points"].split()
    ]


values = st.floats(0, 1e12)
points = st.lists(st.tuples(st.floats(0, 3600), st.none() | values), max_size=30).map(
    lambda found: sorted(found, key=lambda point: point[0])
)


@given(points)
def test_every_point_is_within_the_drawing(found):
    svg = drawn(found)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in coordinates(svg, "polyline"))


def test_a_higher_value_is_drawn_higher():
    (_, low), (_, high) = coordinates(drawn([(0, 1.0), (10, 5.0)]), "polyline")
    assert high < low


def test_a_gap_parts_the_line():
    assert list(runs([(0, 1.0), (1, None), (2, 3.0), (3, 4.0), (4, None)])) == [[(0, 1.0)], [(2, 3.0), (3, 4.0)]]
    assert len(list(drawn([(0, 1.0), (1, 2.0), (2, None), (3, 3.0), (4, 4.0)]).iter("polyline"))) == 2


def test_a_title_is_text_and_never_markup():
    assert "<script>" not in Plot("<script>", "x", [], 0, 1).svg()


@given(st.floats(1e-6, 1e15))
def test_the_scale_ends_just_above_the_greatest_value(value):
    assert value <= nice_ceiling(value) * (1 + 1e-9)
    assert nice_ceiling(value) <= value * 2.5 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.25, "0.25"), (40, "40"), (1500, "1.5k"), (2_000_000, "2M"), (3e9, "3G")]
)
def test_numbers_of_a_scale_are_short(value, shown):
    assert short_number(value) == shown
