"""Which strategy runs for which event, and what happens when one fails."""

from decimal import Decimal

import msgspec
import pytest

from activity_indexer.document import live_document
from activity_indexer.enrichment import Enrichment, Registry
from activity_indexer.enrichment.loading import Loaded, load_strategies
from activity_indexer.errors import EnrichmentError, SettingsError

KEYWORD = {"type": "keyword"}


class Strategy:
    """A strategy of another package, made of what a test says."""

    def __init__(self, name="points", types=("loyalty",), properties=None, gives=None, raises=None):
        self.name = name
        self.transaction_types = frozenset(types)
        self.properties = properties or {"points": {"type": "long"}}
        self.gives = Enrichment({"points": 7}, ["Gold Tier"]) if gives is None else gives
        self.raises = raises
        self.seen = []

    def enrich(self, transaction, metadata):
        self.seen.append(metadata)
        if self.raises:
            raise self.raises
        return self.gives


def registry_of(*strategies):
    return Registry([*load_strategies(["card"]), *(Loaded(each.name, each, built_in=False) for each in strategies)])


def test_the_built_in_strategies_are_all_there(registry):
    assert sorted(registry.names) == ["card", "crypto", "p2p"]
    assert {
        "day",
        "month",
        "amount_absolute",
        "sign",
        "merchant",
        "counterparty",
        "asset",
    } <= registry.properties.keys()


def test_it_says_which_types_are_enriched(registry):
    assert registry.enriches("card")
    assert registry.enriches("P2P Transfer")
    assert not registry.enriches("loyalty")
    assert not registry.enriches("")


def test_a_strategy_adds_fields_and_words(added_by, event):
    found = added_by(registry_of(Strategy()), event("LOYALTY"))
    assert (found.fields["points"], found.fields["day"], found.ran) == (7, "2024-01-01", True)
    assert found.content.endswith("2024-01-01 gold tier")


def test_a_strategy_is_given_exact_numbers(event):
    strategy = Strategy()
    registry_of(strategy)(event("loyalty", b'{"points":0.1234567890123456789,"whole":12345678901234567890123}'))
    assert strategy.seen == [{"points": Decimal("0.1234567890123456789"), "whole": 12345678901234567890123}]


def test_several_strategies_of_one_type_add_to_one_object(added_by, event):
    more = Strategy(
        types=["card"],
        properties={"card": {"properties": {"tier": KEYWORD}}},
        gives=Enrichment({"card": {"tier": "gold"}}, ["golden"]),
    )
    found = added_by(registry_of(more), event("card", {"card_last_four": "1234"}))
    assert found.fields["card"] == {"masked": "•••• 1234", "last_four": "1234", "tier": "gold"}
    assert "1234 golden" in found.content


@pytest.mark.parametrize(
    "raises",
    [
        ValueError("no points"),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        StopIteration(),
        AssertionError("\ud800"),
    ],
)
def test_whatever_a_strategy_raises_concerns_its_event_alone(event, raises):
    registry = registry_of(Strategy(raises=raises))
    with pytest.raises(EnrichmentError) as caught:
        registry(event("loyalty"))
    assert (caught.value.stage, caught.value.code) == ("enrich", "enrichment_failed")
    assert caught.value.message.startswith(f"strategy points: {type(raises).__name__}")
    assert caught.value.message.encode()
    assert registry(event("card")).ran


def test_the_message_of_a_failure_is_short(event):
    with pytest.raises(EnrichmentError) as caught:
        registry_of(Strategy(raises=ValueError("x" * 10_000)))(event("loyalty"))
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "gives",
    [
        {"points": 7},
        Enrichment({"points": object()}),
        Enrichment({"points": "\ud800"}),
        Enrichment({"points": msgspec.Raw(b"[1,\n2]")}),
        Enrichment({"points": msgspec.Raw(b"[1,")}),
        Enrichment({"points": Decimal("NaN")}),
        Enrichment({"deep": [{"points": Decimal("-Infinity")}]}),
        Enrichment({}, "gold"),
        Enrichment({}, [7]),
    ],
)
def test_what_would_break_the_document_concerns_its_event_alone(event, gives):
    with pytest.raises(EnrichmentError, match="strategy points: "):
        registry_of(Strategy(gives=gives))(event("loyalty"))


@pytest.mark.parametrize("text", ["1.50", "0.1000000000000000055511151231257827", "-7", "1E+3", "9007199254740993"])
def test_a_decimal_is_written_as_a_number_with_all_its_digits(event, text):
    enriched = registry_of(Strategy(gives=Enrichment({"points": [Decimal(text)]})))(event("loyalty"))
    lines = live_document(event("loyalty"), enriched, b"now")
    assert f'"points":[{text}]'.encode() in lines


@pytest.mark.parametrize(
    "properties",
    [
        {"card": KEYWORD},
        {"card": {"properties": {"last_four": {"type": "long"}}}},
        {"card": {"type": "nested", "properties": {"tier": KEYWORD}}},
        {"day": KEYWORD},
    ],
)
def test_two_mappings_of_one_field_stop_the_start(properties):
    with pytest.raises(SettingsError, match=r"both map enrichment\.(card|day).*CONSUMER_ENRICHMENTS"):
        registry_of(Strategy(properties=properties))


def test_one_mapping_declared_twice_is_one():
    same = Strategy(properties={"card": {"type": "object", "properties": {"last_four": KEYWORD, "tier": KEYWORD}}})
    registry = registry_of(same)
    assert registry.properties["card"]["properties"].keys() == {"masked", "last_four", "network", "tier"}
    assert same.properties["card"]["properties"].keys() == {"last_four", "tier"}
    (card,) = load_strategies(["card"])
    assert "tier" not in card.strategy.properties["card"]["properties"]
