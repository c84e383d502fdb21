"""What an image holds, and what it does not."""

from __future__ import annotations

import hashlib
import json

import pytest
from e2e.commands import ROOT, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

TARGETS = ("service", "loadgen", "operator")
BUILD_TOOLS = ("pip", "pip3", "uv", "gcc", "cc", "make", "git")
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108


def inside(image: str, *command: str) -> str:
    return run("docker", "run", "--rm", "--network", "none", *HARDENED, image, *command).stdout.strip()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_numbered_user_without_privileges(images: dict[str, str], target: str) -> None:
    [details] = json.loads(run("docker", "image", "inspect", images[target]).stdout)
    config = details["Config"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert {"title", "description", "version", "revision", "licenses"} <= {
        label.removeprefix("org.opencontainers.image.") for label in config["Labels"]
    }


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_no_build_tools(images: dict[str, str], target: str) -> None:
    look = f"for tool in {' '.join(BUILD_TOOLS)}; do command -v $tool; done; true"
    assert inside(images[target], "sh", "-c", look) == ""


@pytest.mark.parametrize(
    ("target", "module", "there"),
    [
        ("service", "elasticsearch", True),
        ("service", "pytest", False),
        ("loadgen", "aiokafka", True),
        ("loadgen", "elasticsearch", False),
        ("loadgen", "asyncpg", False),
        ("operator", "kopf", True),
        ("operator", "kubernetes", True),
        ("service", "kubernetes", False),
        ("operator", "elasticsearch", False),
    ],
)
def test_an_image_holds_the_libraries_of_its_role_only(
    images: dict[str, str], target: str, module: str, there: bool
) -> None:
    look = f"import importlib.util as u; print(u.find_spec({module!r}) is not None)"
    assert inside(images[target], "python", "-c", look) == str(there)


def test_the_service_starts_on_a_read_only_file_system(images: dict[str, str]) -> None:
    assert "run" in inside(images["service"], "activity-indexer", "--help")


def test_the_guides_publish_script_is_in_the_load_generators_image(images: dict[str, str]) -> None:
    usage = inside(images["loadgen"], "python", "publish_test_data_to_kafka.py", "--help")
    assert all(option in usage for option in ("--count", "--user-id", "--kafka-servers", "--update-ratio"))


@pytest.mark.parametrize(
    "package",
    [
        "shared/src/activity_common",
        "service/src/activity_indexer",
        "loadgen/src/activity_loadgen",
        "operator/src/activity_indexer_operator",
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_the_sources_of_the_checkout(images: dict[str, str], target: str, package: str) -> None:
    source = ROOT / package
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*.py")):
        digest.update(path.relative_to(source).as_posix().encode() + path.read_bytes())
    look = (
        "import hashlib, importlib.util, pathlib\n"
        f"root = pathlib.Path(importlib.util.find_spec({source.name!r}).origin).parent\n"
        "digest = hashlib.sha256()\n"
        "for path in sorted(root.rglob('*.py')):\n"
        "    digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())\n"
        "print(digest.hexdigest())"
    )
    assert inside(images[target], "python", "-c", look) == digest.hexdigest()
