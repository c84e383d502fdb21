"""What becomes of a dead letter, and the plan that counts it."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace

import msgspec
import pytest
from fixtures.events import DELETED, encoded, event, moment
from fixtures.memory.replay import MemoryDocuments, stored, with_headers
from fixtures.records import Reported, undecoded
from fixtures.servers.replays import MISSING
from hypothesis import given
from hypothesis import strategies as some

from activity_common.replay_result import Cause, Counters
from activity_indexer.dead_letter import Failure, dead_letter, smaller_forms, with_key
from activity_indexer.dead_letters.document_state import StoredDocument, identity, identity_of
from activity_indexer.dead_letters.earlier import original_position
from activity_indexer.dead_letters.payload import read_facts
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Span
from activity_indexer.event import CREATED, UNKNOWN_POSITION, Order, event_version
from activity_indexer.event import Position as Published
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.ports import Content, OutRecord, Truncation, UndecodedRecord
from activity_indexer.positions import Partition
from activity_indexer.replay import decide
from activity_indexer.replay.checkpoint import Checkpoint, PartitionCheckpoint, read_ends
from activity_indexer.replay.correction import parse_correction
from activity_indexer.replay.decide import Decider, Decision, Fate, Fates
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.plan import MAX_CAUSES, MAX_REFUSALS, Plan
from activity_indexer.replay.records import lies_at
from activity_loadgen.generate import generate
from activity_loadgen.options import TIMESTAMPS, LoadOptions, Timestamps

LATEST = 2**62
OPTIONS = ReplayOptions(
    replay_id="r", indexer_group="g", events_topic="t", dead_letter_topic="t.dlq", parked_topic="t.dlq.parked"
)
VERSION = event_version(CREATED, 1_704_110_400_000_000_000)


def letter(value: object = None, offset: int = 0, topic: str = "t", **headers: str) -> StoredDeadLetter:
    record = Reported(encoded(event("a") if value is None else value), key=b"user_1", offset=offset, topic=topic)
    return with_headers(stored(dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)), offset), **headers)


async def fate(
    found: StoredDeadLetter,
    options: ReplayOptions = OPTIONS,
    there: Mapping[str, int | StoredDocument] | None = None,
    settled: tuple[str, ...] = (),
) -> Decision:
    (decision,) = await Decider(options, MemoryDocuments(dict(there or {})), settled).decide([found])
    return decision


async def test_what_is_not_selected_is_skipped() -> None:
    wanted = replace(OPTIONS, selection=Selection(stages=frozenset({"index"})))
    assert (await fate(letter(), wanted)).fate is Fate.SKIPPED


async def test_what_came_back_since_or_was_parked_is_skipped_for_its_copy_counts() -> None:
    assert (await fate(letter(), settled=(lies_at(letter()),))).fate is Fate.SKIPPED
    assert (await fate(letter(offset=1), settled=(lies_at(letter()),))).fate is Fate.SENT


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (undecoded(encoded(event("a")), content=Content.BATCH), "the bytes of a batch that cannot be decoded"),
        (
            undecoded(encoded(event("a")), content=Content.VALUE, truncation=Truncation(70_000, "abc")),
            "of 70,000 bytes are kept: have the producer send the event again, or copy it from transactions 0:0",
        ),
    ],
)
async def test_a_value_that_is_not_the_events_is_refused_whatever_it_looks_like(
    record: UndecodedRecord, reason: str
) -> None:
    found = stored(dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)))
    for wanted in (replace(OPTIONS, to_topic="t"), replace(OPTIONS, to_topic="t", include_parked=True, max_replays=1)):
        decision = await fate(found, wanted)
        assert (decision.fate, decision.made) == (Fate.REFUSED, None)
        assert reason in decision.reason


async def test_a_dead_letter_that_its_topic_truncated_is_refused() -> None:
    whole = OutRecord(b"k", encoded(event("a")), letter().headers)  # type: ignore[arg-type]
    fates = {len(form.value or b""): (await fate(stored(form))).fate for form in smaller_forms(whole)}
    assert fates == {len(whole.value or b""): Fate.SENT, 256: Fate.REFUSED, 0: Fate.REFUSED}


async def test_a_key_that_the_dead_letter_was_given_is_taken_away_again() -> None:
    found = stored(with_key(OutRecord(None, encoded(event("a")), letter().headers)))  # type: ignore[arg-type]
    decision = await fate(found)
    assert found.key == b"t:0:0"
    assert decision.made is not None
    assert decision.made().record.key is None


@pytest.mark.parametrize(("there", "wanted"), [(-1, Fate.SENT), (0, Fate.STALE), (256, Fate.STALE), (None, Fate.SENT)])
async def test_what_would_change_nothing_is_stale(there: int | None, wanted: Fate) -> None:
    documents = {} if there is None else {"a": VERSION + there}
    assert (await fate(letter(), there=documents)).fate is wanted
    assert (await fate(letter(), replace(OPTIONS, include_stale=True), documents)).fate is Fate.SENT


def state(published: int, ties: int = 0) -> StoredDocument:
    """A document of the letter's timestamp and type, of an event that was published this many milliseconds later."""
    position = original_position(letter())
    later = msgspec.structs.replace(position, published=position.published + published)
    order = Order(1_704_110_400_000_000_000, 0, later)
    return StoredDocument(VERSION + ties, False, order)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [(state(-1), Fate.SENT), (state(-1, 9), Fate.SENT), (state(0), Fate.STALE), (state(1), Fate.STALE)],
)
async def test_of_ties_the_position_says_which_is_stale(there: StoredDocument, wanted: Fate) -> None:
    assert (await fate(letter(), there={"a": there})).fate is wanted


def test_the_position_of_a_dead_letter_is_that_of_its_original() -> None:
    first = letter(offset=5)
    assert tuple(original_position(first) or ()) == (first.original_timestamp // 1000, 0, 5)
    noted = {"replay-timestamp": "2024-01-01T12:00:00.005Z", "replay-partition": "3", "replay-offset": "9"}
    assert tuple(original_position(letter(offset=5, **noted)) or ()) == (1_704_110_400_005, 3, 9)
    assert original_position(with_headers(first, **{"dead-letter-offset": "none"})) == UNKNOWN_POSITION


@pytest.mark.parametrize("unit", TIMESTAMPS)
def test_the_identity_of_a_valid_event_is_what_its_payload_says(unit: Timestamps) -> None:
    """The payload is not read a second time for it."""
    load = LoadOptions(count=200, update_ratio=0.5, delete_ratio=0.3, tie_ratio=0.5, timestamps=unit, seed=1)
    position = Published(1_704_110_400_000, 2, 7)
    values = [each.value for each in generate(load)]
    assert len(values) > 250
    for value in values:
        found = decode_event(value, LATEST, position)
        assert identity_of(found) == identity(read_facts(value, None), position)


async def test_a_deletion_that_is_there_makes_older_events_stale() -> None:
    deleted = event_version(DELETED, 1_704_110_400_000_000_000)
    assert (await fate(letter(), there={"a": deleted})).fate is Fate.STALE


async def test_an_invalid_event_whose_correction_is_there_already_is_stale() -> None:
    value = event("a")
    del value["transaction"]["currency"]
    assert (await fate(letter(value), there={"a": VERSION})).fate is Fate.STALE
    found = await fate(letter(value))
    assert (found.fate, found.fails.split(":")[0]) == (Fate.SENT, "missing_field")


async def test_without_an_index_nothing_is_stale_and_the_reason_is_reported() -> None:
    decider = Decider(OPTIONS, MemoryDocuments(unavailable="no connection"))
    (decision,) = await decider.decide([letter()])
    assert (decision.fate, decider.blind) == (Fate.SENT, "no connection")


async def test_what_came_back_too_often_is_parked_unless_it_is_stale_or_wanted_all_the_same() -> None:
    often = letter(replay_count="3")
    found = await fate(often)
    assert (found.fate, found.made().topic if found.made else "") == (Fate.PARKED, "t.dlq.parked")
    assert (await fate(letter(replay_count="2"))).fate is Fate.SENT
    assert (await fate(often, there={"a": VERSION})).fate is Fate.STALE
    assert (await fate(often, replace(OPTIONS, include_parked=True))).fate is Fate.SENT


async def test_another_topic_is_refused_until_it_is_given() -> None:
    found = await fate(letter(topic="other"))
    assert (found.fate, "other" in found.reason) == (Fate.REFUSED, True)
    moved = await fate(letter(topic="other"), replace(OPTIONS, to_topic="new"))
    assert (moved.fate, moved.made().topic if moved.made else "") == (Fate.SENT, "new")
    stranger = msgspec.structs.replace(letter(), headers=())
    assert (await fate(stranger)).fate is Fate.SENT


async def test_an_index_that_did_not_answer_once_stays_in_the_plan_though_it_answers_again() -> None:
    documents = MemoryDocuments(unavailable="no connection")
    decider = Decider(OPTIONS, documents)
    await decider.decide([letter()])
    documents.unavailable = ""
    await decider.decide([letter()])
    assert decider.blind == "no connection"


async def test_few_batches_of_large_dead_letters_are_decided_ahead() -> None:
    read = 0

    async def batches() -> AsyncGenerator[list[StoredDeadLetter], None]:
        nonlocal read
        for _ in range(8):
            read += 1
            yield [msgspec.structs.replace(letter(), value=b" " * (decide.AHEAD_BYTES + 1))]

    async def nothing(_: object) -> list[Decision]:
        return []

    async for _ in decide.decided(nothing, batches()):
        assert read == 1
        break


def test_an_offset_before_a_plan_is_not_taken_for_one_of_it() -> None:
    planned = Fates({Partition("t.dlq", 0): Span(10, 12)}, 0.0)
    planned.keep([Decision(letter(offset=9), Fate.SENT), Decision(letter(offset=1), Fate.SENT)])
    assert [planned.of(letter(offset=offset)) for offset in (1, 9, 10, 11)] == [None] * 4


async def test_what_a_correction_leaves_invalid_is_refused_and_the_rest_is_decided_by_its_new_value() -> None:
    fix = replace(OPTIONS, correction=parse_correction(b'{"transaction": {"id": "b"}}'))
    assert (await fate(letter(), fix, {"a": VERSION})).fate is Fate.SENT
    assert (await fate(letter(), fix, {"b": VERSION})).fate is Fate.STALE
    spoil = replace(OPTIONS, correction=parse_correction(b'{"timestamp": null}'))
    found = await fate(letter(), spoil)
    assert (found.fate, "timestamp" in found.reason) == (Fate.REFUSED, True)


async def test_a_plan_counts_by_fate_and_cause_and_says_what_users_should_know() -> None:
    plan = Plan(horizon=1_704_110_400_000_001)
    invalid = letter({"event_type": "x"})
    decisions = [await fate(each) for each in (letter(), invalid, letter(event("n", timestamp=moment(1))))]
    plan.add([*decisions, Decision(letter(), Fate.SKIPPED), Decision(letter(), Fate.REFUSED, reason="r", fails="f")])
    assert plan.counters == Counters(read=5, sent=3, skipped=1, refused=1)
    assert plan.most_common_causes() == [Cause("validate", "missing_field", 4)]
    assert (plan.failing, plan.invalid, plan.old) == (1, 1, 3)
    assert plan.refusals == ["0:0 r"]


def fates_of(decisions: list[Decision], made_at: float) -> Fates:
    found = Fates({Partition("t.dlq", 0): Span(10, 10 + len(decisions))}, made_at)
    found.keep(decisions)
    return found


async def again(options: ReplayOptions, letters: list[StoredDeadLetter], now: float, planned: Fates) -> list[Decision]:
    """Decided while no document is known."""
    return await Decider(options, MemoryDocuments(), (), lambda: now, planned).decide(letters)


KINDS = some.sampled_from(["valid", "invalid", "unselected", "often", "elsewhere", "indexed", "cut"])


@given(some.lists(KINDS, min_size=1, max_size=12), some.booleans(), some.booleans())
async def test_what_is_sent_as_planned_is_what_would_be_decided_again(
    kinds: list[str], is_corrected: bool, include_parked: bool
) -> None:
    fix = parse_correction(b'{"source": "corrected"}') if is_corrected else None
    selection = Selection(stages=frozenset({"validate"}))
    options = replace(OPTIONS, selection=selection, correction=fix, include_parked=include_parked)
    made = {
        "valid": lambda at: letter(offset=at),
        "invalid": lambda at: letter({"event_type": "x"}, at),
        "unselected": lambda at: with_headers(letter(offset=at), dead_letter_stage="index"),
        "often": lambda at: letter(offset=at, replay_count="3"),
        "elsewhere": lambda at: letter(offset=at, topic="other"),
        "indexed": lambda at: letter(event("indexed"), at),
        "cut": lambda at: letter(
            offset=at, dead_letter_truncated="true", dead_letter_size="9", dead_letter_sha256="abc"
        ),
    }
    letters = [made[kind](at) for at, kind in enumerate(kinds, 10)]
    documents = MemoryDocuments({"indexed": VERSION})
    decided = await Decider(options, documents, (), lambda: 2e9).decide(letters)
    planned = await again(options, letters, 2e9 + 1, fates_of(decided, 2e9))
    assert [(each.fate, each.made and each.made()) for each in planned] == [
        (each.fate, each.made and each.made()) for each in decided
    ]


async def test_a_plan_holds_for_a_minute_and_only_for_what_it_has_seen() -> None:
    documents = MemoryDocuments({"a": VERSION})
    stale = await Decider(OPTIONS, documents, (), lambda: 2e9).decide([letter(offset=10)])
    planned = fates_of(stale, 2e9)
    assert [each.fate for each in stale] == [Fate.STALE]
    for later, offset, wanted in ((59, 10, Fate.STALE), (61, 10, Fate.SENT), (1, 11, Fate.SENT), (1, 9, Fate.SENT)):
        (found,) = await again(OPTIONS, [letter(offset=offset)], 2e9 + later, planned)
        assert found.fate is wanted


async def test_a_plan_of_very_many_offsets_is_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "MAX_REMEMBERED", 0)
    stale = await Decider(OPTIONS, MemoryDocuments({"a": VERSION}), (), lambda: 2e9).decide([letter(offset=10)])
    (found,) = await again(OPTIONS, [letter(offset=10)], 2e9 + 1, fates_of(stale, 2e9))
    assert found.fate is Fate.SENT


def test_a_plan_of_any_size_stays_small() -> None:
    plan = Plan(0)
    for number in range(MAX_CAUSES + 50):
        odd = with_headers(letter(), dead_letter_error=f"error{number}")
        plan.add([Decision(odd, Fate.REFUSED, reason="r")])
    assert len(plan.causes) == MAX_CAUSES + 1
    assert len(plan.refusals) == MAX_REFUSALS
    assert sum(plan.causes.values()) == MAX_CAUSES + 50


def test_ends_read_as_they_were_written() -> None:
    ends = {Partition("d", 0): 5, Partition("d", 10): 0, Partition("d.parked", 1): 9}
    text = Checkpoint("", 0, {place: PartitionCheckpoint(0, end) for place, end in ends.items()}).ends("d")
    assert text == "0:5,10:0,d.parked/1:9"
    assert read_ends(text, "d") == ends
    for wrong in ("", "1", "a:1", "1:-2", "1:2,", "0:1;1:2"):
        with pytest.raises(ValueError, match="expected partition:offset"):
            read_ends(wrong, "d")
