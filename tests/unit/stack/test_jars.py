import hashlib
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import jgo.maven
import pytest
from rich.console import Console

from activity_stack import jars
from activity_stack.errors import DownloadFailed, StackError
from activity_stack.jars import Jar, read_lock
from activity_stack.progress import Progress
from activity_stack.settings import SOURCES

CONTENT = b"a jar"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
JAR = Jar(DIGEST, len(CONTENT), "org.example", "thing", "1.0")


class Repository:
    """Answers downloads in turn; what it has in its cache it answers with first, as Maven's does."""

    def __init__(self, cache: Path, *answers: bytes | Exception) -> None:
        self.file, self.answers = cache / "thing-1.0.jar", list(answers)

    def __call__(self, **_: object) -> SimpleNamespace:
        artifact = SimpleNamespace(resolve=self.resolve)
        component = SimpleNamespace(artifact=lambda: artifact)
        return SimpleNamespace(project=lambda *_: SimpleNamespace(at_version=lambda _: component))

    def resolve(self) -> Path:
        if not self.file.exists():
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            self.file.write_bytes(answer)
        return self.file


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def fetch(monkeypatch: pytest.MonkeyPatch, store: Path, *answers: bytes | Exception) -> Repository:
    repository = Repository(store, *answers)
    monkeypatch.setattr(jgo.maven, "MavenContext", repository)
    monkeypatch.setattr(jars, "RETRY_PAUSE", 0)
    jars.fetch([JAR], store, Progress("jars", Console(file=StringIO())), timeout=1)
    return repository


def test_a_lock_names_jars_under_their_folders(tmp_path: Path) -> None:
    text = f"# about\n[lib]\n{DIGEST} 5 org.example:thing:1.0  # why\n\n[modules/x]\n{DIGEST} 5 org.example:thing:1.0\n"
    lock = read_lock(write(tmp_path / "a.lock", text))
    assert lock.folders == {"lib": (JAR,), "modules/x": (JAR,)}
    assert lock.jars() == [JAR]
    assert lock.version("thing") == "1.0"


@pytest.mark.parametrize("line", ["abc", f"{DIGEST} org.example:thing:1.0", f"{DIGEST} x a:b:1", f"{DIGEST} 5 a:b"])
def test_a_line_that_is_no_jar_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(StackError, match=r"a\.lock:2: expected 'sha256 size group:artifact:version'"):
        read_lock(write(tmp_path / "a.lock", f"[lib]\n{line}\n"))


@pytest.mark.parametrize("name", ["kafka", "elasticsearch", "elasticsearch-security", "compiler"])
def test_the_repositorys_locks_can_be_read(name: str) -> None:
    assert all(len(jar.sha256) == 64 for jar in read_lock(SOURCES / "jars" / f"{name}.lock").jars())


def test_a_jar_is_kept_under_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(monkeypatch, tmp_path, CONTENT)
    assert JAR.path(tmp_path).read_bytes() == CONTENT


def test_a_jar_that_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(monkeypatch, tmp_path, CONTENT)
    assert fetch(monkeypatch, tmp_path, CONTENT).answers == [CONTENT]


def test_a_half_downloaded_jar_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thing-1.0.jar").write_bytes(CONTENT[:2])
    fetch(monkeypatch, tmp_path, CONTENT)
    assert JAR.path(tmp_path).read_bytes() == CONTENT


def test_a_jar_cut_short_in_the_store_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    JAR.path(tmp_path).parent.mkdir()
    JAR.path(tmp_path).write_bytes(CONTENT[:2])
    fetch(monkeypatch, tmp_path, CONTENT)
    assert JAR.path(tmp_path).read_bytes() == CONTENT


def test_a_failing_network_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(monkeypatch, tmp_path, OSError("reset"), OSError("reset"), CONTENT)
    assert JAR.path(tmp_path).exists()


def test_a_jar_of_other_content_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadFailed, match=f"org.example:thing:1.0 .* the lock says {DIGEST}"):
        fetch(monkeypatch, tmp_path, *[b"another jar"] * jars.ATTEMPTS)
    assert not JAR.path(tmp_path).exists()
