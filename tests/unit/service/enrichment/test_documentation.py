"""The worked example of docs/enrichment.md works, and its tables are true."""

import re
from pathlib import Path
from typing import Any

import pytest

from activity_indexer.enrichment import built_in
from activity_indexer.enrichment.built_in import card, crypto, p2p
from activity_indexer.enrichment.declared import problem_of
from activity_indexer.enrichment.loading import Loaded, load_strategies
from activity_indexer.enrichment.plan import SIGHTINGS
from activity_indexer.enrichment.registry import Registry
from activity_indexer.errors import EnrichmentError

PAGE = (Path(__file__).parents[4] / "docs" / "enrichment.md").read_text()


def leaves(properties, prefix=""):
    for name, mapped in properties.items():
        if "properties" in mapped:
            yield from leaves(mapped["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.fixture
def loyalty(tmp_path, monkeypatch):
    """The page's class in a module, found by the page's entry point."""
    package = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1]
    entry_point = re.search(r"^loyalty = \"(.*)\"$", package, re.MULTILINE)[1]
    (tmp_path / "activity_loyalty.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    information = tmp_path / "activity_loyalty-1.0.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: activity-loyalty\nVersion: 1.0.0\n")
    (information / "entry_points.txt").write_text(f"[activity_indexer.enrichment]\nloyalty = {entry_point}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry(load_strategies(["card", "p2p", "crypto", "loyalty"]))


def test_the_example_enriches(loyalty, added_by, event):
    found = added_by(loyalty, event("loyalty", {"points": 120, "programme": "Viajes Oro"}))
    assert found.fields["loyalty"] == {"points": 120, "programme": "Viajes Oro"}
    assert found.content.endswith("viajes oro")
    assert found.ran


def test_the_example_works_as_one_file_among_the_built_in_ones(tmp_path, monkeypatch):
    (tmp_path / "loyalty.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    monkeypatch.setattr(built_in, "__path__", [*built_in.__path__, str(tmp_path)])
    assert "loyalty" in [loaded.name for loaded in load_strategies() if loaded.built_in]


def test_the_example_dead_letters_what_it_cannot_read(loyalty, event):
    with pytest.raises(EnrichmentError, match=r"strategy loyalty: KeyError: 'points'"):
        loyalty(event("loyalty", {}))


def test_the_declared_example_enriches(added_by, event):
    place: dict[str, Any] = {"__name__": "activity_loyalty"}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], place)  # noqa: S102 - our own page
    strategy = place["LoyaltyPoints"]()
    assert problem_of(strategy) is None
    registry = Registry([Loaded("loyalty", strategy, built_in=False)])
    metadata = {"loyaltyPoints": 120, "loyalty": {"programme": "viajes oro"}, "note": "Olé"}
    found = added_by(registry, event("loyalty", metadata))
    assert (found.fields["points"], found.fields["programme"]) == (120, "Viajes Oro")
    assert found.content.endswith("viajes oro ole")
    for metadata in ({"points": "7"}, {"points": "7", "note": "no"}):
        subject = event("loyalty", metadata)
        assert [registry(subject) for _ in range(SIGHTINGS + 2)][-1] == registry.without_plan(subject)
    with pytest.raises(EnrichmentError, match="ValueError"):
        registry(event("loyalty", {}))


def test_the_table_of_fields_is_complete(registry):
    fields = re.search(r"## Fields\n(.*?)\n\n[A-Z]", PAGE, re.DOTALL)[1]
    listed = {
        name
        for line in fields.splitlines()
        for name in re.findall(r"`([^`]+)`", line.split("|")[1] if "|" in line else "")
    }
    assert set(leaves(registry.properties)) == listed - {"enrichment"}


def test_the_table_of_types_is_complete():
    for loaded in load_strategies(["card", "p2p", "crypto"]):
        line = next(
            line for line in PAGE.splitlines() if line.startswith("| `") and line.endswith(f"| `{loaded.name}` |")
        )
        assert set(re.findall(r"`([^`]+)`", line.split("|")[1])) == loaded.strategy.transaction_types


def test_every_name_of_the_table_is_understood():
    table = re.search(r"## Names in the metadata\n(.*?)\n## ", PAGE, re.DOTALL)[1]
    names = {
        name for line in table.splitlines() if line.startswith("| ") for name in re.findall(r"`([a-z0-9_]+)`", line)
    }
    strategies = (card.CardPayments, p2p.PeerTransfers, crypto.CryptoMovements)
    assert names <= {name for each in strategies for name in each.vocabulary._places}
