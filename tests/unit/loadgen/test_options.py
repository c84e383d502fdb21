"""Options are refused by name, and the run's id distinguishes runs."""

import re
from dataclasses import replace
from typing import Any

import pytest

from activity_loadgen.options import LoadOptions, OptionError, parse_mix


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"count": -1}, "--count"),
        ({"user_id": ""}, "--user-id"),
        ({"user_id": "\ud800"}, "--user-id"),
        ({"update_ratio": -0.1}, "--update-ratio"),
        ({"delete_ratio": 1.1}, "--delete-ratio"),
        ({"late_ratio": float("nan")}, "--late-ratio"),
        ({"users": 0}, "--users"),
        ({"rate": 0}, "--rate"),
        ({"payload_bytes": 1_000_000}, "--payload-bytes"),
        ({"start_us": -5}, "--start-time"),
        ({"type_mix": {"card": -1.0, "p2p": 2.0}}, "--type-mix"),
        ({"type_mix": {"card": 0.0}}, "--type-mix"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_option(change: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError, match=r"expected .*, got ") as caught:
        LoadOptions(**change)
    assert caught.value.option == option


def test_a_mix_is_read() -> None:
    assert parse_mix("card=6, crypto=1") == {"card": 6.0, "p2p": 0.0, "crypto": 1.0}


@pytest.mark.parametrize("text", ["", "card", "card=", "card=x", "cash=1", "card=0", "card=-1,p2p=2", "card=nan"])
def test_a_mix_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_mix(text)


def test_the_run_is_named_after_all_options() -> None:
    options = LoadOptions(seed=1, start_us=1)
    names = {replace(options, **change).run for change in ({}, {"seed": 2}, {"start_us": 2}, {"count": 9}, {"rate": 5})}
    assert len(names) == 5
    assert options.run == replace(options).run
    assert re.fullmatch("run-[0-9a-f]{16}", options.run)


def test_runs_without_a_seed_differ() -> None:
    assert LoadOptions(start_us=1).run != LoadOptions(start_us=1).run
