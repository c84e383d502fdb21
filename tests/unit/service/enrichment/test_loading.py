"""Strategies of other packages, found by their entry points."""

import pytest

from activity_indexer.enrichment import load_enrichments
from activity_indexer.errors import SettingsError

STRATEGY = """
from activity_indexer.enrichment import Enrichment

class Loyalty:
    name = "loyalty"
    transaction_types = frozenset({"loyalty"})
    properties = {"points": {"type": "long"}}

    def enrich(self, transaction, metadata):
        return Enrichment({"points": metadata["points"]}, ["frequent flyer"])

class NeedsMore(Loyalty):
    def __init__(self, url):
        self.url = url

class NoTypes(Loyalty):
    transaction_types = "loyalty"

class NoMapping(Loyalty):
    properties = {"points": "long"}

class NoMethod:
    name, transaction_types, properties = "loyalty", {"loyalty"}, {}

class OtherName(Loyalty):
    name = "points"

class Card(Loyalty):
    name = "card"
    transaction_types = frozenset({"card"})
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with these entry points beside the installed ones."""

    def installed(package: str, **entry_points: str) -> None:
        place = tmp_path / package
        (place / f"{package}-1.0.dist-info").mkdir(parents=True)
        (place / f"{package}.py").write_text(STRATEGY)
        lines = [f"{name} = {value.replace('$', package)}" for name, value in entry_points.items()]
        information = place / f"{package}-1.0.dist-info"
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[activity_indexer.enrichment]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(place))

    return installed


def test_a_strategy_of_another_package_is_used(install, added_by, event):
    install("points_one", loyalty="$:Loyalty")
    registry = load_enrichments()
    found = added_by(registry, event("loyalty", {"points": 7}))
    assert (found.fields["points"], found.ran) == (7, True)
    assert "frequent flyer" in found.content
    assert registry.properties["points"] == {"type": "long"}


def test_it_takes_the_place_of_a_built_in_strategy_of_its_name(install, added_by, event):
    install("points_two", card="$:Card")
    registry = load_enrichments()
    assert added_by(registry, event("card", {"points": 7})).fields["points"] == 7
    assert "merchant" not in registry.properties
    assert sorted(registry.names) == ["card", "crypto", "p2p"]


def test_names_choose_the_strategies(install):
    install("points_three", loyalty="$:Loyalty")
    assert load_enrichments(["p2p", " loyalty", "p2p", ""]).names == ("p2p", "loyalty")


def test_an_unknown_name_stops_the_start_and_says_which_there_are():
    with pytest.raises(
        SettingsError, match=r"CONSUMER_ENRICHMENTS: expected names out of card, crypto, p2p, got 'carb'"
    ):
        load_enrichments(["carb"])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module_here:Loyalty", "cannot be loaded \\(ModuleNotFoundError"),
        ("$:NoSuchClass", "cannot be loaded \\(AttributeError"),
        ("$:NeedsMore", "without arguments, got TypeError"),
        ("$:NoTypes", "expected transaction_types to be a set"),
        ("$:NoMapping", "expected properties to be an Elasticsearch mapping"),
        ("$:NoMethod", "expected a method enrich"),
        ("$:OtherName", "expected the attribute name to be 'loyalty'"),
    ],
)
def test_a_broken_entry_point_stops_the_start_and_names_its_package(install, value, problem):
    install("points_four", loyalty=value)
    with pytest.raises(SettingsError, match=problem) as caught:
        load_enrichments()
    assert "of the package points_four" in str(caught.value)


def test_a_broken_entry_point_that_is_not_chosen_does_no_harm(install):
    install("points_five", loyalty="no_such_module_here:Loyalty")
    assert load_enrichments(["card"]).names == ("card",)


def test_two_packages_with_one_name_stop_the_start(install):
    install("points_six", loyalty="$:Loyalty")
    install("points_seven", loyalty="$:Loyalty")
    with pytest.raises(SettingsError, match=r"points_six.*points_seven|points_seven.*points_six"):
        load_enrichments()
