"""What only shows a text imports nothing that only a running program needs."""

import importlib
import json
import subprocess
import sys

import pytest

from activity_indexer.cli.lazy import without

HEAVY = {
    "aiohttp",
    "aiokafka",
    "asyncio",
    "asyncpg",
    "elastic_transport",
    "elasticsearch",
    "jinja2",
    "kopf",
    "kubernetes",
    "msgspec",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "redis",
    "requests",
    "rich",
    "structlog",
    "urllib3",
}

LOOK = """
import sys
from {module} import main
try:
    main({arguments}, prog_name="x")
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + " ".join(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def imported(module: str, *arguments: str) -> set[str]:
    script = LOOK.format(module=module, arguments=list(arguments))
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(found.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("activity_indexer.cli", ("--version",)),
        ("activity_indexer.cli", ("--help",)),
        ("activity_indexer.cli", ("version",)),
        ("activity_indexer.cli", ("dead-letters", "--help")),
        ("activity_indexer.cli", ("completion", "bash")),
        ("activity_indexer_operator.__main__", ("--version",)),
        ("activity_indexer_operator.__main__", ("--help",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_help_and_version_import_nothing_heavy(module: str, arguments: tuple[str, ...]) -> None:
    assert imported(module, *arguments) & HEAVY == set()


def test_showing_the_settings_imports_no_client_of_a_server() -> None:
    clients = {"aiokafka", "aiohttp", "asyncpg", "elasticsearch", "opentelemetry", "redis", "prometheus_client"}
    assert imported("activity_indexer.cli", "check-config", "--json") & clients == set()


def test_the_help_of_run_imports_no_client_of_a_server() -> None:
    clients = {"aiokafka", "aiohttp", "asyncpg", "elasticsearch", "opentelemetry", "redis", "prometheus_client", "rich"}
    assert imported("activity_indexer.cli", "run", "--help") & clients == set()


def test_an_indexer_starts_without_what_it_needs_later_or_never() -> None:
    """The full client of Elasticsearch, tracing and the page's templates, another client of Redis, and the audit."""
    script = "import sys, activity_indexer.app; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) & {"asyncpg", "elasticsearch", "jinja2", "opentelemetry", "redis"} == set()


def test_a_package_that_is_left_out_is_found_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wsgiref", raising=False)
    with without("wsgiref", "json"):
        assert importlib.import_module("json") is json, "it is imported already"
        with pytest.raises(ImportError):
            importlib.import_module("wsgiref")
    assert importlib.import_module("wsgiref").__name__ == "wsgiref"
