"""The fast path of declared strategies adds the same as the plain one, to the byte, and cannot be made to grow."""

import random
import string

import pytest
from fixtures.events import LATEST, UPDATED
from fixtures.events import event as made
from fixtures.hostile_inputs import damaged
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from activity_indexer.enrichment import DeclaredStrategy, Enrichment, Part, Registry, Text, Vocabulary, load_enrichments
from activity_indexer.enrichment.caches import ADMITTED, Cache
from activity_indexer.enrichment.declared import problem_of
from activity_indexer.enrichment.loading import Loaded
from activity_indexer.enrichment.plan import SIGHTINGS
from activity_indexer.enrichment.registry import MANY
from activity_indexer.errors import EnrichmentError, EventError
from activity_indexer.pipeline.decode import decode_event

TYPES = ["card", "card_refund", "p2p", "p2p_received", "crypto", "crypto_sell", "Card Payment", "loyalty"]
KEYS = [
    "merchant_name",
    "merchantName",
    "mcc",
    "category",
    "card_last_four",
    "card_number",
    "bin",
    "card_network",
    "note",
    "direction",
    "revision",
    "peer_id",
    "peer_name",
    "sender_id",
    "sender_name",
    "recipient_id",
    "recipient_name",
    "asset",
    "asset_name",
    "network",
    "quantity",
    "satoshis",
    "wei",
    "from",
    "to",
    "wallet_address",
    "tx_hash",
]
TEXTS = [
    "", " ", "STARBUCKS #12 SEATTLE", "sent", "received", "BTC", "USD Coin", "ethereum", "visa", "5814", "1234", "12",
    "user_1", "José Núñez", "Ёлочка", "お土産代", "ΑΘΉΝΑΣ", "İstanbul", "ﬁn", "two  blanks ", "a\nb", "\u202eabc",
    "4111 1111 1111 1111", "4111111111111111", "•••• 1111", "Visa5555555555554444", "0x6951a6e636c8f6bdffad51bcb403",
    "0.00150000", "1e9", "-0", "13.036648", "0.123456789012345678", "1" * 90, "x" * 300, "word " * 300, "é " * 600,
    "٤١١١١١١١١١١١١١١١", "²²²²²²²²²²²²²²²²", "٣٤٥٦",
]  # fmt: skip
TIMES = [
    "2024-01-01T12:00:00Z", "2024-01-01T23:59:59.9+05:30", "2024-01-01T00:00:00-23:59", "2024-02-30T12:00:00Z",
    "2024-12-31T23:59:60Z", "2024-01-01t12:00:00z", "2024-01-01 12:00:00.123456", "0001-01-01T00:00:00+01:00",
    "2024-12-31T23:59:60+00:00", "2024-01-01T12:00:00.123456",
]  # fmt: skip
PLAIN_TEXTS = st.sampled_from(TEXTS) | st.text(max_size=20) | st.text(string.printable, max_size=20)
OTHER = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.text())
)
METADATA = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), PLAIN_TEXTS | PLAIN_TEXTS | OTHER, max_size=8)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["tx-1", "4111111111111111", "É", "a b", "tab\there", "x" * 600, "TX 1 tx"]),
        "user_id": st.sampled_from(["user_1", "Ünal", "4111 1111", "u" * 5000, "\x00u"]),
        "product": st.sampled_from([None, "", "Card", "Tarjeta Crédito", "p" * 2000]),
        "status": st.sampled_from(["completed", "", "  two  ", "完了"]),
        "currency": st.sampled_from(["USD", "BTC", "eth", "", "c" * 300]),
        "amount": st.sampled_from(["100.50", "-1", "0", "-0.00", "0e5", "1E+2", "12345678901234567890.1", "1234", ""]),
        "created_at": st.sampled_from(TIMES),
    },
)


def often(registry, event):
    """What is added to an event whose shape is known, and whose type is not known for unusual events."""
    registry._routes.clear()
    for _ in range(SIGHTINGS):
        registry(event)
    return [registry(event), registry(event)]


@settings(max_examples=300)
@given(st.sampled_from(TYPES), METADATA, CHANGES)
@example("card", {"merchant_name": "4111 1111 1111 1111"}, {})
@example("p2p", {"note": "é " * 600}, {})
@example("p2p", {"note": "word " * 300, "peer_name": "x" * 300}, {"user_id": "u" * 1000})
@example("crypto", {"asset": "BTC", "symbol": "ETH", "quantity": "1"}, {})
@example("card", {"mcc": 5814, "merchant_name": "Shell"}, {"amount": "1234", "id": "1234"})
@example("loyalty", {}, {"amount": "100.5", "id": "Ünal", "user_id": "100.5"})
def test_a_known_shape_is_enriched_as_an_unknown_one(registry, event, transaction_type, metadata, changes):
    subject = event(transaction_type, metadata, **changes)
    expected = registry.without_plan(subject)
    assert often(registry, subject) == [expected, expected]


@settings(max_examples=100)
@given(st.integers(0, 2**63))
def test_a_damaged_event_is_enriched_the_same_way(registry, seed):
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    kinds = (
        made("a"),
        made("p", UPDATED, transaction_type="p2p", metadata={"sender_name": "Ann", "recipient_name": "Bo"}),
        made("c", transaction_type="crypto", metadata={"symbol": "BTC", "asset_amount": "0.5", "memo": "¡olé!"}),
    )
    for _ in range(10):
        try:
            subject = decode_event(damaged(rng, rng.choice(kinds)), LATEST)
        except EventError:
            continue
        if not subject.deleted:
            assert often(registry, subject)[1] == registry.without_plan(subject)


USUAL = {
    "card": {"merchant_name": "TST* THE  OTTER", "mcc": "5814", "card_last_four": "1234", "card_network": "visa"},
    "p2p": {"direction": "sent", "peer_id": "user_42", "peer_name": "José Núñez", "note": "お土産代"},
    "crypto": {"asset": "BTC", "network": "bitcoin", "side": "buy", "quantity": "0.0015", "address": "bc1qxy2k"},
    "loyalty": {"points": 7, "nested": {"is": "not read"}},
}


@pytest.mark.parametrize("transaction_type", USUAL)
@pytest.mark.parametrize("unread", [{}, {"fee": 1.5, "ok": True, "tags": ["a", "b"], "none": None, "big": 2**70}])
def test_usual_events_take_the_fast_path(event, monkeypatch, transaction_type, unread):
    registry = load_enrichments()
    subject = event(transaction_type, USUAL[transaction_type] | unread)
    expected = registry.without_plan(subject)
    often(registry, subject)
    monkeypatch.setattr(registry, "without_plan", None)
    assert registry(subject) == expected


def test_an_event_without_metadata_takes_the_fast_path(event, monkeypatch):
    registry = load_enrichments()
    subject = event("crypto", b"", currency="BTC")
    expected = registry.without_plan(subject)
    assert b'"quantity":100.50' in expected.fields
    often(registry, subject)
    monkeypatch.setattr(registry, "without_plan", None)
    assert registry(subject) == expected


def test_a_type_of_unusual_events_is_tried_again_and_again(event, monkeypatch):
    registry = load_enrichments()
    usual, unusual = event("card", USUAL["card"]), event("card", {"merchant": {"name": "Shell"}})
    often(registry, usual)
    tries = []
    by_plan = registry._by_plan
    monkeypatch.setattr(registry, "_by_plan", lambda *given: tries.append(1) or by_plan(*given))
    for _ in range(10 * MANY):
        registry(unusual)
    assert len(tries) < 3 * MANY
    for _ in range(3 * MANY):
        registry(usual)
    assert len(tries) > 4 * MANY


def caches(registry):
    compilers = registry._compilers.values()
    return [registry._routes, *(each for found in compilers for each in (found._plans, *found._results.values()))]


def test_values_and_shapes_that_never_come_again_do_not_fill_the_memory(event):
    registry = load_enrichments()
    for number in range(6000):
        word = f"{number:x}".translate(str.maketrans(string.digits, "ghijklmnop"))
        registry(event("card", {"merchant_name": f"Shop {word}", "mcc": word, "card_network": word, "note": word}))
        registry(event("crypto", {"asset": word, "network": word, f"key{number % 3000}": word}, status=word))
        registry(event(f"type{number}", {}))
    for cache in caches(registry):
        assert len(cache) <= cache._entries <= 4096
        assert cache.weight <= cache._limit <= 1 << 20
    assert any(len(cache) for cache in caches(registry))


def test_card_numbers_are_not_kept(event):
    registry = load_enrichments()
    subject = event("card", {"merchant_name": "Shop 4111 1111 1111 1111", "card_number": "5555555555554444"})
    often(registry, subject)
    often(registry, event("card", {"merchant_name": "Shop"}))
    kept = "".join(f"{key}{held}" for cache in caches(registry) for key, held in cache.items())
    assert "Shop" in kept
    assert "4111" not in kept
    assert "5555" not in kept


@pytest.mark.parametrize("between", ["     ", "\u200b \u200b", " \x00 \x00 \x00 "])
def test_card_numbers_that_cleaning_brings_together_are_not_kept(event, between):
    registry = load_enrichments()
    subject = event("card", {"merchant_name": "Shop " + between.join(["4111", "1111", "1111", "1111"])})
    assert "1111 1111" not in str(often(registry, subject))
    assert "4111" not in "".join(f"{key}{held}" for cache in caches(registry) for key, held in cache.items())


def test_a_cache_keeps_what_is_light_and_forgets_all_when_it_is_full():
    made_of = []

    def make(key):
        made_of.append(key)
        return key * 2

    cache = Cache(make, lambda key, _value: len(key), entries=3, weight=10, heaviest=4)
    assert [cache["a"], cache["a"], cache["x" * 5], cache["x" * 5], cache[""], cache[""]][:2] == ["aa", "aa"]
    assert made_of == ["a", "x" * 5, "x" * 5, "", ""]
    assert (cache["b"], cache["c"], len(cache), cache.weight) == ("bb", "cc", 3, 3)
    assert (cache["d"], list(cache), cache.weight) == ("dd", ["d"], 1)


def test_a_cache_that_was_full_keeps_what_comes_again_and_hardly_anything_else():
    weighed = []
    cache = Cache(lambda key: key, lambda key, _value: weighed.append(key) or 1, entries=10)
    for number in range(11):
        assert cache[number] == number
    assert list(cache) == [10]
    for number in range(100, 100 + 9 * ADMITTED):
        assert cache[number] == number
    assert len(weighed) == 11 + 9
    for _ in range(ADMITTED):
        assert cache["often"] == "often"
    assert "often" in cache


def points(points, programme, currency):
    if points == "none":
        raise ValueError("no points")
    fields = {"points": {"of": Raw(points.encode()) if points else None, "in": currency}, "programme": programme}
    return Enrichment(fields, (programme, "Ünder"))


def tier(tier):
    return Enrichment({"tier": tier.upper(), **({"points": 1} if tier == "both" else {})}, (tier,))


class Loyalty(DeclaredStrategy):
    """A declared strategy of another package."""

    name = "loyalty"
    transaction_types = frozenset({"loyalty"})
    properties = {"points": {"properties": {"of": {"type": "long"}}}, "tier": {"type": "keyword"}}  # noqa: RUF012
    vocabulary = Vocabulary(points="points bonus", programme="programme", tier="tier", remark="remark comment")
    parts = (
        Part(points, adds=("points", "programme")),
        Part(tier, adds=("tier",), repeats=True),
        Text("remark", adds="remark"),
    )


LOYALTY = Registry([Loaded("loyalty", Loyalty(), built_in=False)])


@pytest.mark.parametrize(
    "metadata",
    [
        {"points": "7", "programme": "Viajes Oro", "tier": "gold", "comment": "¡olé!"},
        {"bonus": "7", "programme": "a\tb"},
        {"tier": "gold"},
        {},
    ],
)
def test_a_declared_strategy_of_another_package_takes_the_fast_path(event, added_by, monkeypatch, metadata):
    assert problem_of(Loyalty()) is None
    subject = event("loyalty", metadata)
    expected = LOYALTY.without_plan(subject)
    assert added_by(LOYALTY, subject).fields["points"]["in"] == "USD"
    often(LOYALTY, subject)
    monkeypatch.setattr(LOYALTY, "without_plan", None)
    assert LOYALTY(subject) == expected


def level(tier):
    return tier.strip("+").lower()


def badge(level, currency, remark, points):
    fields = {"badge": {"of": level, "says": f"<{remark}>", "alone": remark}, "worth": currency, "text": points}
    return Enrichment(fields, (level, currency, remark, points))


class Badges(Loyalty):
    """A declared strategy of another package, with a derived text and with texts that are copied."""

    name = "badges"
    derived = {"level": level}  # noqa: RUF012
    parts = (Part(badge, adds=("badge", "worth", "text"), copies=("remark", "points")),)


BADGES = Registry([Loaded("badges", Badges(), built_in=False)])
BOTH = Registry([Loaded("loyalty", Loyalty(), built_in=False), Loaded("badges", Badges(), built_in=False)])
SAID = st.fixed_dictionaries(
    {},
    optional={
        "tier": st.sampled_from(["gold", "GOLD+", "", "\1Copy0\2", "4111 1111 1111 1111"]),
        "comment": PLAIN_TEXTS | st.sampled_from(['"', "\\", "\1Copy0\2", "\\u0001Copy0\\u0002", "%b", "x" * 2000]),
        "points": st.sampled_from(["7", "", "1e3", "[1]", '{"a":1}', "[1,", "seven"]),
        "other": OTHER,
    },
)


def outcome(registry, subject):
    try:
        return registry(subject)
    except EnrichmentError as error:
        return str(error)


@settings(max_examples=200)
@given(st.sampled_from([BADGES, BOTH]), SAID, st.sampled_from(["USD", "usd gold", ""]))
def test_what_a_part_copies_is_in_the_document_as_without_a_plan(event, registry, metadata, currency):
    subject = event("loyalty", metadata, currency=currency)
    registry._routes.clear()
    for _ in range(SIGHTINGS * len(registry.names)):
        outcome(registry, subject)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_by_plan", None)
        expected = outcome(registry, subject)
    assert outcome(registry, subject) == expected


@pytest.mark.parametrize("registry", [BADGES, BOTH])
def test_copies_and_two_strategies_for_one_type_take_the_fast_path(event, monkeypatch, registry):
    events = [event("loyalty", {"tier": "gold", "points": "7", "comment": f"¡olé {n}!"}) for n in range(3)]
    expected = [registry.without_plan(each) for each in events]
    assert b'"badge":{"of":"gold","says":"<\xc2\xa1ol\xc3\xa9 1!>"' in expected[1].fields
    for _ in registry.names:  # one strategy after the other gets its plan
        often(registry, events[0])
    monkeypatch.setattr(registry, "without_plan", None)
    assert [registry(each) for each in events] == expected
    assert "olé" not in str(registry._compilers["badges"]._results)


class Tier(Loyalty):
    """One that adds a field of another strategy."""

    name = "tier"
    parts = (Part(lambda remark: Enrichment({"tier": remark}), adds=("tier",)),)


def test_strategies_that_add_one_field_have_no_plan(event):
    registry = Registry([Loaded("loyalty", Loyalty(), built_in=False), Loaded("tier", Tier(), built_in=False)])
    subject = event("loyalty", {"tier": "gold", "remark": "silver"})
    expected = registry.without_plan(subject)
    assert expected.fields.count(b'"tier"') == 1
    often(registry, subject)
    assert often(registry, subject) == [expected, expected]


def shouted(remark, tier):
    return Enrichment({"remark": remark.upper(), "size": len(tier)}, (remark,))


def first(remark, tier):
    return Enrichment({"remark": remark}, (remark, tier))


def unchecked(remark, tier):
    return Enrichment({"remark": Raw(remark.encode())}, (tier, remark))


@pytest.mark.parametrize("make", [shouted, first, unchecked])
@pytest.mark.parametrize("remark", ["[1,", "1", '"yes"'])
def test_a_part_that_does_more_than_copy_has_no_plan(event, make, remark):
    class Wrong(Loyalty):
        parts = (Part(make, adds=("remark", "size"), copies=("remark",)),)

    registry = Registry([Loaded("loyalty", Wrong(), built_in=False)])
    subject = event("loyalty", {"tier": "gold", "remark": remark})
    for _ in range(SIGHTINGS):
        outcome(registry, event("loyalty", {"tier": "gold", "remark": "1"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_by_plan", None)
        expected = outcome(registry, subject)
    assert outcome(registry, subject) == outcome(registry, subject) == expected
    assert isinstance(expected, str) == (make is unchecked and remark == "[1,")


def test_nothing_of_an_event_is_in_the_source_of_a_plan():
    registry = load_enrichments()
    compiler = registry._compilers["card"]
    usual = compiler.source("card", ["merchant_name", "note"])
    assert usual == compiler.source('"\n)', ['merchant_"name', "n-o-t-e", "'\nraise SystemExit\n'"])
    assert "def plan(transaction, values):" in usual
    assert registry.plans("card", ["merchant_name", "note"]) == usual
    assert registry.plans("loyalty", ["merchant_name", "note"]) == ""
    assert compiler.source("card", ["merchant_name", "merchantName"]) is None


class Louder(Loyalty):
    """One that changes what its parts add."""

    def enrich(self, transaction, metadata):
        added = super().enrich(transaction, metadata)
        return Enrichment({**added.fields, "tier": "LOUD"}, added.terms)


class OwnSign(Loyalty):
    """One with a field of every document."""

    properties = {**Loyalty.properties, "sign": {"type": "keyword"}}  # noqa: RUF012
    parts = (Part(lambda tier: Enrichment({"sign": tier}), adds=("sign",)),)


@pytest.mark.parametrize(("strategy", "member"), [(Louder(), b'"tier":"LOUD"'), (OwnSign(), b'"sign":"gold"')])
def test_a_strategy_that_adds_other_things_than_its_parts_has_no_plan(event, strategy, member):
    registry = Registry([Loaded("loyalty", strategy, built_in=False)])
    subject = event("loyalty", {"tier": "gold"})
    expected = registry.without_plan(subject)
    assert member in expected.fields
    assert often(registry, subject) == [expected, expected]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"points": "none"}, "ValueError: no points"),
        ({"points": "[1,"}, "strategy loyalty"),
        ({"tier": "both", "points": "7"}, r"TypeError: expected fields out of \['tier'\], got 'points'"),
    ],
)
def test_what_a_part_does_wrong_concerns_its_event_alone(event, metadata, message):
    for _ in range(SIGHTINGS + 2):
        with pytest.raises(EnrichmentError, match=message):
            LOYALTY(event("loyalty", metadata))
    assert LOYALTY(event("loyalty", {"points": "7"})).ran


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((Part(lambda nothing: Enrichment()),), "nothing"),
        ((Part(lambda metadata: Enrichment()),), "metadata"),
        ((Part(lambda amount: Enrichment(), repeats=True),), "amount"),
        ((Text("nothing"),), "nothing"),
        ((Text("tier", adds="tier"), Part(tier, adds=("tier",))), "tier"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(parts, problem):
    strategy = Loyalty()
    strategy.parts = parts
    assert problem in problem_of(strategy)


@pytest.mark.parametrize(
    ("derived", "part", "problem"),
    [
        ({"tier": level}, Text("remark"), "names of their own, got tier"),
        ({"amount": level}, Text("remark"), "names of their own, got amount"),
        ({"level": lambda nothing: nothing}, Text("remark"), "nothing"),
        ({"level": level}, Text("level"), "level"),
        ({"level": level}, Part(lambda level, amount: Enrichment(), copies="level"), "amount"),
        ({"level": level}, Part(lambda level: Enrichment(), copies=("tier",)), "tier"),
        ({"level": level}, Part(lambda currency: Enrichment(), copies=("currency",)), "currency"),
    ],
)
def test_derived_texts_and_copies_that_cannot_work_are_refused(derived, part, problem):
    strategy = Loyalty()
    strategy.derived, strategy.parts = derived, (part,)
    assert problem in problem_of(strategy)


def test_a_declaration_without_parts_is_refused():
    class Nothing(DeclaredStrategy):
        name = "nothing"

    assert "vocabulary or parts" in problem_of(Nothing())


def test_the_fields_of_a_part_may_stand_in_a_list():
    assert Part(tier, adds=["tier"]).adds == Part(tier, adds="tier").adds == ("tier",)
