import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from activity_indexer.reference import PAGES, main
from activity_indexer.settings import declared
from activity_indexer.telemetry.metrics.indexer import Metrics

DOCS = Path(__file__).parents[3] / "docs"


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_current(name):
    result = run(name, "--check", "--docs", DOCS)
    assert result.exit_code == 0, result.output


def test_every_setting_has_a_row_with_its_meaning():
    printed = run("settings").output
    for _, _, variable, info in declared():
        assert re.search(rf"^\| `{variable}` \|.*\| {re.escape(info.description)} \|$", printed, re.MULTILINE)


def test_rows_say_default_and_what_is_allowed():
    printed = run("settings").output
    assert "| `CONSUMER_BATCH_SIZE` | `10` | whole number 1 to 10000 |" in printed
    assert "| `CONSUMER_LOG_LEVEL` | `info` | `debug`, `info`, `warning`, `error` |" in printed
    assert "| `KAFKA_SASL_PASSWORD` |  | secret |" in printed
    assert "| `CONSUMER_BATCH_TIMEOUT` | `5` | number > 0 |" in printed


def test_every_metric_has_a_row():
    printed = run("metrics").output
    for each in Metrics().declarations:
        assert f"| `{each.full_name}` | {each.kind} | {each.unit} |" in printed


def test_tables_have_as_many_cells_in_each_row_as_in_their_head():
    for name in PAGES:
        for table in re.findall(r"(?:^\|.*\n)+", run(name).output, re.MULTILINE):
            cells = {len(re.split(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(cells) == 1


def test_a_page_that_is_not_current_is_reported_and_renewed(tmp_path):
    page = tmp_path / "metrics.md"
    old = (DOCS / "metrics.md").read_text(encoding="utf-8").replace("`activity_indexer_events_total`", "`gone`")
    page.write_text(old, encoding="utf-8")
    reported = run("metrics", "--check", "--docs", tmp_path)
    assert reported.exit_code == 1
    assert "python -m activity_indexer.reference metrics --write" in reported.output
    assert run("metrics", "--write", "--docs", tmp_path).exit_code == 0
    assert page.read_text(encoding="utf-8") == (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path):
    (tmp_path / "settings.md").write_text("# Settings\n", encoding="utf-8")
    result = run("settings", "--write", "--docs", tmp_path)
    assert result.exit_code == 1
    assert "begin" in result.output


def test_a_page_that_is_not_there_is_refused(tmp_path):
    assert "there is no such page" in run("settings", "--check", "--docs", tmp_path).output
