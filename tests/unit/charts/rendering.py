"""Charts as `helm template` renders them, without a cluster."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHARTS = ROOT / "charts"
NAMES = ("activity-indexer", "activity-indexer-operator")
EXAMPLES = sorted(CHARTS.glob("*/examples/*.yaml"))
KNOWN = "activityindexer.io/v1alpha1/ActivityIndexer"


def needs(*programs: str) -> pytest.MarkDecorator:
    """A mark that skips where a program is not to be had, and says which."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(*command: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """The finished command; its output is in the error where it fails."""
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


@cache
def template(chart: str, *arguments: str) -> str:
    """What `helm template` prints for the release `demo` in the namespace `demo`."""
    return run("helm", "template", "demo", f"charts/{chart}", "--namespace", "demo", *arguments).stdout


def objects(text: str, kind: str | None = None) -> list[dict[str, Any]]:
    """The objects of a rendering, or those of one kind."""
    return [body for body in yaml.load_all(text, yaml.CSafeLoader) if body and kind in {None, body["kind"]}]


def refusal(chart: str, *arguments: str) -> str:
    """Why Helm renders nothing."""
    done = run("helm", "template", "demo", f"charts/{chart}", *arguments, check=False)
    assert done.returncode != 0, "these values should be refused"
    return done.stderr


def pods(text: str) -> Iterator[dict[str, Any]]:
    """The pod specs of a rendering."""
    for body in objects(text):
        if body["kind"] == "Pod":
            yield body["spec"]
        elif body["kind"] in {"Deployment", "Job"}:
            yield body["spec"]["template"]["spec"]
