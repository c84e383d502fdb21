"""The release before this one: its charts and images, made from the commit that it was."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml
from e2e.commands import CommandFailedError, run

CHART = "charts/activity-indexer/Chart.yaml"
IMAGES = {"service": "activity-indexer", "operator": "activity-indexer-operator"}


@dataclass(frozen=True)
class Release:
    """`root` has what the repository had at the release's last commit; images are tagged `version`."""

    version: str
    root: Path

    @property
    def chart(self) -> str:
        """Where its chart is."""
        return str(self.root / "charts" / "activity-indexer")

    def build(self) -> list[str]:
        """Builds its images; their names."""
        names = [f"{image}:{self.version}" for image in IMAGES.values()]
        for target, name in zip(IMAGES, names, strict=True):
            run("docker", "build", "--target", target, "--tag", name, str(self.root), timeout=900)
        return names


def commit_before_this_version() -> str:
    """The last commit at which the chart had another version. Raises LookupError where history does not reach it."""
    try:
        touched = run("git", "log", "--format=%H", "--", CHART).stdout.split()
        first = next(f"{commit}^" for commit, older in pairwise(touched) if _changed(commit, older))
    except (CommandFailedError, StopIteration) as error:
        raise LookupError("the history of this checkout has no earlier version of the chart") from error
    return run("git", "rev-parse", first).stdout.strip()


def unpack(commit: str, folder: Path) -> Release:
    """Writes the files of a commit into a folder."""
    archive = folder / "release.tar"
    run("git", "archive", f"--output={archive}", commit)
    root = folder / "release"
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as packed:
        packed.extractall(root, filter="tar")
    return Release(yaml.safe_load((root / CHART).read_text())["version"], root)


def _changed(commit: str, older: str) -> bool:
    return _version(commit) != _version(older)


def _version(commit: str) -> str:
    return str(yaml.safe_load(run("git", "show", f"{commit}:{CHART}").stdout)["version"])
