"""What every document gets."""

import pytest


@pytest.mark.parametrize(
    ("created_at", "day"),
    [
        ("2024-01-01T12:00:00Z", "2024-01-01"),
        ("2024-01-01T12:00:00", "2024-01-01"),
        ("2024-01-01 12:00:00.123456789z", "2024-01-01"),
        ("2024-01-31T23:30:00-01:00", "2024-02-01"),
        ("2024-03-01T00:30:00+01:00", "2024-02-29"),
        ("2016-12-31T23:59:60Z", "2017-01-01"),
        ("0001-01-01T00:00:00Z", "0001-01-01"),
        ("9999-12-31T23:59:59Z", "9999-12-31"),
    ],
)
def test_the_day_is_that_of_created_at_in_utc(enrich, created_at, day):
    fields = enrich("card", created_at=created_at).fields
    assert (fields["day"], fields["month"]) == (day, day[:7])


@pytest.mark.parametrize("created_at", ["9999-12-31T23:30:00-01:00", "0001-01-01T00:30:00+01:00"])
def test_a_day_outside_the_calendar_is_left_out(enrich, created_at):
    assert not {"day", "month"} & enrich("card", created_at=created_at).fields.keys()


@pytest.mark.parametrize(
    ("amount", "absolute", "sign"),
    [
        ("100.50", "100.50", "positive"),
        ("-100.50", "100.50", "negative"),
        ("0", "0", "zero"),
        ("-0.0", "0.0", "zero"),
        ("-0.00e7", "0.00e7", "zero"),
        ("1e-400", "1e-400", "positive"),
        ("-0.05", "0.05", "negative"),
        ("9007199254740993", "9007199254740993", "positive"),
        ("-123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789", "negative"),
        ("1.5E+3", "1.5E+3", "positive"),
    ],
)
def test_the_absolute_amount_keeps_every_digit(enrich, amount, absolute, sign):
    enriched = enrich("card", amount=amount)
    assert f'"amount_absolute":{absolute},' in enriched.text
    assert enriched.fields["sign"] == sign


def test_a_type_without_strategy_gets_the_common_fields_alone(enrich):
    enriched = enrich("loyalty", {"merchant_name": "Starbucks"})
    assert enriched.fields.keys() == {"day", "month", "amount_absolute", "sign"}
    assert not enriched.ran
