"""What the generated events are like."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_loadgen.generate import Event, base_version, generate
from activity_loadgen.invalid import ALL_KINDS
from activity_loadgen.options import LoadOptions
from activity_loadgen.state import nanoseconds

PINNED = "728d3b057fa9033de82f9882b614b94eeedf68513bd91e7b00d5b53aa9c5e86f"
PINNED_EVENTS = "0039a0d2de965dd5620982785073d31d33b60d0a65bb2e8f275a6ad27c0d5b9c"
START_US = 1_704_110_400_000_000
PLAIN = LoadOptions(count=400, seed=1, start_us=START_US)
MIXED = replace(
    PLAIN,
    users=20,
    update_ratio=0.4,
    delete_ratio=0.2,
    duplicate_ratio=0.1,
    late_ratio=0.1,
    invalid_ratio=0.1,
    traceparent_ratio=0.3,
)
RANKS = {"transaction.created": 0, "transaction.updated": 1, "transaction.deleted": 2}


def events(options: LoadOptions) -> list[Event]:
    return list(generate(options))


def body(event: Event) -> dict[str, Any]:
    assert event.value is not None
    return json.loads(event.value)


def micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def valid(options: LoadOptions) -> list[Event]:
    return [event for event in generate(options) if event.reason is None]


def test_the_same_options_give_the_same_events() -> None:
    assert events(MIXED) == events(replace(MIXED))


@pytest.mark.parametrize("change", [{"seed": 2}, {"start_us": START_US + 1}, {"update_ratio": 0.41}])
def test_other_options_give_other_transactions(change: dict[str, Any]) -> None:
    ours = {event.transaction_id for event in events(MIXED)}
    theirs = {event.transaction_id for event in events(replace(MIXED, **change))}
    assert not ours & theirs


def test_the_bytes_of_a_seed_stay_the_same_from_release_to_release() -> None:
    digest = hashlib.sha256(b"".join(event.value or b"" for event in generate(MIXED)))
    assert digest.hexdigest() == PINNED


def test_so_do_its_keys_headers_and_everything_else_with_every_option() -> None:
    """Each event as text: keys, headers, kinds, deliveries, versions and timestamps too."""
    options = replace(
        MIXED,
        user_id='é"\\',
        update_ratio=1.5,
        tie_ratio=0.5,
        scatter_ratio=0.3,
        timestamps="nanoseconds",
        trace_ratio=0.5,
        payload_bytes=900,
        invalid_kinds=tuple(ALL_KINDS),
    )
    digest = hashlib.sha256(repr(events(options)).encode())
    assert digest.hexdigest() == PINNED_EVENTS


def test_an_endless_run_begins_like_any_other() -> None:
    assert len(list(islice(generate(replace(PLAIN, count=None)), 1000))) == 1000


def test_without_options_a_tenth_of_one_users_transactions_is_updated() -> None:
    kinds = Counter((event.kind, event.user_id) for event in generate(LoadOptions()))
    assert kinds == {("created", "test_user_123"): 1000, ("updated", "test_user_123"): 100}


def test_ratios_are_exact_shares_of_the_transactions() -> None:
    made = events(replace(MIXED, late_ratio=0))
    kinds = Counter(event.kind for event in made if event.delivery != "duplicate")
    assert kinds == {"created": 400, "updated": 160, "deleted": 80, "invalid": 40}
    assert sum(event.delivery == "duplicate" for event in made) == 40


def test_a_ratio_above_one_updates_some_transactions_more_often() -> None:
    updates = Counter(
        event.transaction_id for event in events(replace(PLAIN, update_ratio=2.5)) if event.kind == "updated"
    )
    assert Counter(updates.values()) == {2: 200, 3: 200}


def test_events_say_what_is_known_about_them() -> None:
    for event in valid(MIXED):
        reported = body(event)
        assert reported["event_type"] == f"transaction.{event.kind}"
        assert reported["source"] == "synthetic_data_generator"
        assert reported["transaction"]["id"] == event.transaction_id
        assert reported["transaction"]["user_id"] == event.user_id == event.key.decode()
        assert reported["transaction"]["metadata"]["load_run"] == MIXED.run


def test_the_event_version_holds_the_timestamp_in_microseconds_and_the_rank() -> None:
    for event in valid(MIXED):
        reported = body(event)
        assert event.version == (micros(reported["timestamp"]) * 4 + RANKS[reported["event_type"]]) * 256


def test_timestamps_come_with_a_z_with_an_offset_and_without_either() -> None:
    texts = [body(event)["timestamp"] for event in valid(MIXED)]
    forms = Counter("Z" if text.endswith("Z") else "offset" if "+" in text else "none" for text in texts)
    assert set(forms) == {"Z", "offset", "none"}
    assert forms["Z"] > 0.8 * len(texts)


def test_an_event_carries_the_whole_transaction() -> None:
    fields = {"id", "user_id", "transaction_type", "product", "status", "currency", "amount", "created_at", "metadata"}
    assert all(body(event)["transaction"].keys() == fields for event in valid(MIXED))


def test_no_two_events_of_a_transaction_have_one_version() -> None:
    made = [event for event in valid(MIXED) if event.delivery != "duplicate"]
    assert len({(event.transaction_id, event.version) for event in made}) == len(made)


def test_events_of_a_transaction_come_in_order_unless_some_are_to_be_late() -> None:
    newest: dict[str, int] = {}
    for event in valid(replace(MIXED, late_ratio=0, duplicate_ratio=0)):
        assert event.version is not None
        assert event.version > newest.get(event.transaction_id, 0)
        newest[event.transaction_id] = event.version


def test_a_late_event_comes_after_a_newer_one_of_its_transaction() -> None:
    newest: dict[str, int] = {}
    late = 0
    for event in valid(replace(MIXED, duplicate_ratio=0)):
        assert event.version is not None
        overtaken = event.version < newest.get(event.transaction_id, 0)
        assert overtaken == (event.delivery == "late")
        late += overtaken
        newest[event.transaction_id] = max(event.version, newest.get(event.transaction_id, 0))
    assert late == 40


def test_a_duplicate_is_the_same_bytes_again() -> None:
    seen: set[tuple[bytes, bytes | None]] = set()
    for event in events(MIXED):
        assert ((event.key, event.value) in seen) == (event.delivery == "duplicate") or event.kind == "invalid"
        seen.add((event.key, event.value))


def test_events_of_a_transaction_lie_within_the_spread() -> None:
    places: dict[str, list[int]] = {}
    for place, event in enumerate(generate(replace(PLAIN, update_ratio=1, spread=3))):
        places.setdefault(event.transaction_id, []).append(place)
    assert all(1 <= last - first <= 8 for first, last in places.values())


@pytest.mark.parametrize(("skew", "least", "most"), [(0.0, 0.005, 0.016), (1.0, 0.17, 0.22), (2.0, 0.57, 0.66)])
def test_the_first_user_has_a_share_by_zipfs_law(skew: float, least: float, most: float) -> None:
    made = events(LoadOptions(count=5000, seed=3, start_us=START_US, update_ratio=0, users=100, user_skew=skew))
    shares = Counter(event.user_id for event in made)
    assert least < shares["test_user_123"] / 5000 < most
    assert len(shares) > 60


def test_the_second_user_has_half_of_the_firsts() -> None:
    made = events(LoadOptions(count=6_000, seed=3, start_us=START_US, update_ratio=0, users=50))
    shares = Counter(event.user_id for event in made)
    assert shares["test_user_123_2"] / shares["test_user_123"] == pytest.approx(0.5, abs=0.08)


def test_transaction_types_come_by_the_mix() -> None:
    options = LoadOptions(count=2000, seed=3, start_us=START_US, update_ratio=0, type_mix={"card": 1, "crypto": 3})
    types = Counter(body(event)["transaction"]["transaction_type"] for event in events(options))
    assert set(types) == {"card", "crypto"}
    assert types["crypto"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_amounts_have_the_decimals_of_their_currency() -> None:
    decimals = {"JPY": 0, "CLP": 0, "KWD": 3}
    for event in valid(PLAIN):
        reported = json.loads(event.value or b"", parse_float=str, parse_int=str)["transaction"]
        _, point, part = reported["amount"].partition(".")
        if len(reported["amount"]) < 15:
            assert len(part) == decimals.get(reported["currency"], 2)
            assert bool(point) == bool(part)


def test_some_amounts_are_beyond_what_a_double_holds() -> None:
    made = valid(LoadOptions(count=5000, seed=1, start_us=START_US))
    amounts = [body(event)["transaction"]["amount"] for event in made]
    assert any(isinstance(amount, int) and float(amount) != amount for amount in amounts)


@pytest.mark.parametrize("size", [1_000, 20_000, 200_000])
def test_events_are_padded_to_about_the_wanted_size(size: int) -> None:
    sizes = [len(event.value or b"") for event in valid(LoadOptions(count=3, seed=1, payload_bytes=size))]
    assert all(size <= each <= size + 20 for each in sizes)


def test_no_padding_string_is_too_long_for_a_keyword() -> None:
    (event,) = valid(LoadOptions(count=1, seed=1, update_ratio=0, payload_bytes=100_000))
    assert max(len(piece) for piece in body(event)["transaction"]["metadata"]["padding"]) <= 4_000


def test_trace_context_is_on_the_wanted_share() -> None:
    made = events(MIXED)
    traced = [dict(event.headers)["traceparent"].decode() for event in made if event.headers]
    assert len(traced) / len(made) == pytest.approx(0.3, abs=0.06)
    assert all([len(part) for part in text.split("-")] == [2, 32, 16, 2] for text in traced)


def test_a_trace_ratio_samples_that_share_and_gives_every_event_a_trace() -> None:
    made = events(LoadOptions(count=1000, seed=1, start_us=START_US, trace_ratio=0.3))
    flags = [dict(event.headers)["traceparent"][-2:] for event in made]
    assert set(flags) == {b"00", b"01"}
    assert flags.count(b"01") / len(flags) == pytest.approx(0.3, abs=0.06)


def test_a_rate_spreads_the_timestamps_over_the_time_it_takes() -> None:
    made = valid(LoadOptions(count=1000, seed=1, start_us=START_US, rate=110, update_ratio=0.1))
    last = max(micros(body(event)["timestamp"]) for event in made)
    assert (last - START_US) / 1_000_000 == pytest.approx(10, abs=0.8)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 30),
    seed=st.integers(0, 2**53),
    ratios=st.tuples(*[st.floats(0, 1)] * 5),
    spread=st.integers(0, 60),
)
def test_whatever_the_options_each_transaction_is_created_once(
    count: int, seed: int, ratios: tuple[float, ...], spread: int
) -> None:
    names = ("update_ratio", "delete_ratio", "duplicate_ratio", "late_ratio", "invalid_ratio")
    options = LoadOptions(
        count=count, seed=seed, start_us=START_US, spread=spread, **dict(zip(names, ratios, strict=True))
    )
    created = [event for event in generate(options) if event.kind == "created" and event.delivery != "duplicate"]
    assert len(created) == len({event.transaction_id for event in created}) == count


TIES = replace(PLAIN, update_ratio=1.0, tie_ratio=0.5, users=20)


def ties(options: LoadOptions) -> list[tuple[Event, Event]]:
    """Pairs of updates of a transaction, neighbours in the order in which they are published."""
    by_transaction: dict[str, list[Event]] = {}
    for event in generate(options):
        if event.kind == "updated" and event.delivery != "duplicate":
            by_transaction.setdefault(event.transaction_id, []).append(event)
    return [pair for updates in by_transaction.values() for pair in pairwise(updates)]


def test_a_tie_has_the_timestamp_and_rank_of_the_update_before_and_other_content() -> None:
    pairs = ties(TIES)
    assert 150 < len(pairs) < 250, "one of two updates has a tie"
    for first, second in pairs:
        assert first.version == second.version
        assert first.timestamp == second.timestamp
        assert body(first)["transaction"] != body(second)["transaction"]


def test_ties_with_nanoseconds_have_the_same_microsecond_at_least() -> None:
    pairs = ties(replace(TIES, timestamps="nanoseconds"))
    assert all((first.timestamp or 0) // 1000 == (second.timestamp or 0) // 1000 for first, second in pairs)
    same = sum(first.timestamp == second.timestamp for first, second in pairs)
    assert 0.3 * len(pairs) < same < 0.7 * len(pairs)
    assert any((first.timestamp or 0) > (second.timestamp or 0) for first, second in pairs)


@pytest.mark.parametrize(("unit", "digits"), [("seconds", 0), ("microseconds", 6), ("nanoseconds", 9)])
def test_timestamps_have_the_digits_of_their_unit(unit: str, digits: int) -> None:
    for event in generate(replace(MIXED, invalid_ratio=0, timestamps=unit)):  # type: ignore[arg-type]
        text = body(event)["timestamp"]
        assert len(text[19:].partition("Z")[0].partition("+")[0].lstrip(".")) == digits
        seconds = event.timestamp or 0
        assert micros(text) == seconds // 1000
        assert digits == 9 or seconds % 10 ** (9 - digits) == 0


def test_a_version_with_nanoseconds_leaves_the_rank_to_the_timestamp() -> None:
    assert [base_version(kind, 5_000) >> 8 for kind in ("created", "updated", "deleted")] == [20, 21, 22]
    assert [base_version(kind, 5_001) >> 8 for kind in ("created", "updated", "deleted")] == [23, 23, 23]


def test_scattered_events_have_a_key_of_their_own() -> None:
    made = events(replace(MIXED, scatter_ratio=0.5))
    scattered = [event for event in made if event.key != event.user_id.encode()]
    assert 0.4 * len(made) < len(scattered) < 0.6 * len(made)
    assert all(event.key.startswith(event.user_id.encode() + b"#") for event in scattered)
    copies: dict[bytes | None, set[bytes]] = {}
    for event in made:
        if event.kind != "invalid":
            copies.setdefault(event.value, set()).add(event.key)
    assert any(len(keys) == 2 for keys in copies.values()), "a copy may be in another partition"


@given(ratio=st.floats(0, 1), unit=st.sampled_from(["seconds", "microseconds", "nanoseconds"]))
@settings(max_examples=20, deadline=None)
def test_the_version_is_that_of_the_text(ratio: float, unit: str) -> None:
    for event in generate(replace(TIES, count=20, tie_ratio=ratio, timestamps=unit)):  # type: ignore[arg-type]
        assert event.timestamp is not None
        assert event.version == base_version(event.kind, event.timestamp)
        assert nanoseconds(body(event)["timestamp"]) == event.timestamp
