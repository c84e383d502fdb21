"""Jars by lock: every jar is named with its size and sha256, and fetched once for all instances."""

from __future__ import annotations

import hashlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from activity_stack.errors import DownloadFailed, StackError

if TYPE_CHECKING:
    from pathlib import Path

    from jgo.maven import MavenContext

    from activity_stack.progress import Progress

CONNECTIONS = 8
ATTEMPTS = 4
RETRY_PAUSE = 1.0
_FIELDS = 3
_COORDINATES = 3


@dataclass(frozen=True)
class Jar:
    """One line of a lock."""

    sha256: str
    size: int
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """The name that the jar is published under."""
        return f"{self.artifact}-{self.version}.jar"

    def path(self, store: Path) -> Path:
        """Where the jar lies once it is fetched and checked."""
        return store / "jars" / f"{self.sha256}.jar"


@dataclass(frozen=True)
class Lock:
    """Jars by the folder they belong in, and a digest that changes when anything of it does."""

    folders: dict[str, tuple[Jar, ...]]
    digest: str

    def jars(self) -> list[Jar]:
        """Every jar once."""
        return list({jar.sha256: jar for group in self.folders.values() for jar in group}.values())

    def version(self, artifact: str) -> str:
        """The locked version of an artifact."""
        return next(jar.version for jar in self.jars() if jar.artifact == artifact)


def read_lock(path: Path) -> Lock:
    """Parse a lock: `[folder]` lines, each followed by `sha256 size group:artifact:version` lines."""
    text = path.read_text()
    folders: dict[str, list[Jar]] = {}
    folder = "lib"
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.split("#")[0].strip()
        if entry.startswith("["):
            folder = entry.strip("[]")
        elif entry:
            folders.setdefault(folder, []).append(_parse_jar(entry, f"{path.name}:{number}"))
    return Lock({name: tuple(jars) for name, jars in folders.items()}, hashlib.sha256(text.encode()).hexdigest())


def _parse_jar(entry: str, where: str) -> Jar:
    parts = entry.split()
    names = parts[-1].split(":")
    if len(parts) != _FIELDS or len(names) != _COORDINATES or not parts[1].isdigit():
        msg = f"{where}: expected 'sha256 size group:artifact:version', got {entry!r}"
        raise StackError(msg)
    return Jar(parts[0], int(parts[1]), *names)


def fetch(jars: list[Jar], store: Path, progress: Progress, timeout: float) -> None:
    """Have every jar in the store, downloading what is missing. Raises DownloadFailed."""
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - slow to import, needed once

    missing = [jar for jar in jars if not _present(jar, store)]
    if not missing:
        return
    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress.file),
        repo_cache=store / "maven",
        timeout=int(timeout),
    )
    with progress.running(len(missing), sum(jar.size for jar in missing)), ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda jar: _fetch_one(context, jar, store), missing))


def _present(jar: Jar, store: Path) -> bool:
    try:
        return jar.path(store).stat().st_size == jar.size
    except FileNotFoundError:
        return False


def _fetch_one(context: MavenContext, jar: Jar, store: Path) -> None:
    last: Exception | None = None
    for attempt in range(ATTEMPTS):
        try:
            _download(context, jar, store)
        except Exception as error:  # noqa: BLE001 - whatever the network did, the answer is to try again
            last = error
            time.sleep(RETRY_PAUSE * (attempt + 1))
        else:
            return
    msg = f"{jar.group}:{jar.artifact}:{jar.version} could not be fetched in {ATTEMPTS} attempts: {last}"
    raise DownloadFailed(msg)


def _download(context: MavenContext, jar: Jar, store: Path) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    found = artifact.resolve()
    got = hashlib.sha256(found.read_bytes()).hexdigest()
    if got != jar.sha256:
        found.unlink()
        msg = f"sha256 is {got}, the lock says {jar.sha256}"
        raise DownloadFailed(msg)
    target = jar.path(store)
    target.parent.mkdir(parents=True, exist_ok=True)
    found.replace(target)


def lay_out(lock: Lock, store: Path, home: Path) -> None:
    """Hard-link the jars of a lock into the folders it names, under `home`."""
    for folder, jars in lock.folders.items():
        (home / folder).mkdir(parents=True, exist_ok=True)
        for jar in jars:
            link = home / folder / jar.file_name
            link.unlink(missing_ok=True)
            link.hardlink_to(jar.path(store))


def digest_of(files: list[Path]) -> str:
    """A digest of the names and contents of files."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def discard(folder: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
