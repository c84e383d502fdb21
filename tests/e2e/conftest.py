"""Skips where containers cannot be run, and builds the images once where they can."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from e2e.commands import ROOT, missing_engine, missing_image, missing_program, port_forward, run
from e2e.compose import Compose
from e2e.kind import Cluster
from e2e.show import Show, table
from e2e.story import Story

BASE_IMAGES = ("python:3.12-slim", "docker/dockerfile:1")
SERVER_IMAGES = (
    "apache/kafka:4.3.1",
    "elasticsearch:9.1.0",
    "redis:7",
    "postgres:15",
    "otel/opentelemetry-collector-contrib:0.155.0",
    "jaegertracing/jaeger:2.13.0",
)
OUR_IMAGES = {
    "service": "activity-indexer:dev",
    "loadgen": "activity-indexer-loadgen:dev",
    "operator": "activity-indexer-operator:dev",
}


def _skip_for(reason: str | None) -> None:
    if reason:
        pytest.skip(reason)


def _show(request: pytest.FixtureRequest, text: str) -> None:
    """Prints at once: pytest shows what a fixture's end prints only where that fails too."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        sys.stdout.write(f"\n{text}\n")


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Our images by target, built from the checkout."""
    _skip_for(missing_engine() or missing_image(*BASE_IMAGES))
    for target, image in OUR_IMAGES.items():
        run("docker", "build", "--target", target, "--tag", image, ".", timeout=900)
    return OUR_IMAGES


@pytest.fixture(scope="session")
def server_images(images: dict[str, str]) -> tuple[str, ...]:
    """The images of Kafka and the others, on this machine."""
    _skip_for(missing_image(*SERVER_IMAGES))
    return SERVER_IMAGES


@pytest.fixture(scope="module")
def compose(request: pytest.FixtureRequest, server_images: tuple[str, ...]) -> Iterator[Compose]:
    """docker-compose.yml as a project of its own with free ports; gone, volumes and all, afterwards."""
    project = Compose.with_free_ports()
    failed_before = request.session.testsfailed
    try:
        yield project
    finally:
        if request.session.testsfailed > failed_before:
            _show(request, project.dump())
        project.down()


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest,
    images: dict[str, str],
    server_images: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A kind cluster with all images in it; deleted afterwards, unless E2E_CLUSTER names one that is to stay."""
    _skip_for(missing_program("kind", "kubectl"))
    kubeconfig, kept = tmp_path_factory.mktemp("kind") / "kubeconfig", os.environ.get("E2E_CLUSTER")
    made = Cluster(kept, kubeconfig) if kept else Cluster.with_unique_name(kubeconfig)
    failed_before = request.session.testsfailed
    try:
        if kept and made.exists():
            made.load(*images.values())
        else:
            made.create()
            made.load(*images.values(), *server_images)
        yield made
    finally:
        if request.session.testsfailed > failed_before:
            _show(request, made.dump())
        if not kept:
            made.delete()


@pytest.fixture(scope="session")
def dependencies(cluster: Cluster) -> Cluster:
    """The cluster with k8s/dependencies ready, in the namespace of k8s/."""
    applied = cluster.kubectl("apply", "-k", "k8s/dependencies")
    assert "Warning" not in applied.stderr, "a pod would not pass the restricted Pod Security Standard"
    for name in ("kafka", "elasticsearch", "redis", "postgres"):
        cluster.rolled_out(f"statefulset/{name}")
    for name in ("otel-collector", "jaeger"):
        cluster.rolled_out(f"deployment/{name}")
    return cluster


@pytest.fixture(scope="session")
def deployed(dependencies: Cluster) -> Cluster:
    """The cluster with everything of k8s/ ready."""
    applied = dependencies.kubectl("apply", "-k", "k8s")
    assert "Warning" not in applied.stderr, "a pod would not pass the restricted Pod Security Standard"
    dependencies.rolled_out("deployment/activity-indexer")
    return dependencies


@pytest.fixture(scope="module")
def shown() -> Show:
    """Where a story leaves what is worth seeing of it: below .build/e2e."""
    return Show(ROOT / ".build" / "e2e")


@pytest.fixture(scope="module")
def begin(
    request: pytest.FixtureRequest, dependencies: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Story]]:
    """Begins a story in a namespace; all are ended afterwards, and shown where something failed."""
    begun: list[Story] = []
    failed_before = request.session.testsfailed

    def beginning(namespace: str) -> Story:
        begun.append(Story.begin(dependencies, namespace, tmp_path_factory.mktemp("logs")))
        return begun[-1]

    yield beginning
    for story in begun:
        if request.session.testsfailed > failed_before:
            _show(request, story.cluster.dump())
        story.end()


@pytest.fixture(scope="session")
def elasticsearch_address(deployed: Cluster) -> Iterator[str]:
    """Elasticsearch in the cluster, through a port-forward."""
    with port_forward(deployed.command, "service/elasticsearch", 9200) as forwarded:
        yield forwarded


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The steps of the stories with their times, also as .build/e2e/stories.md."""
    reports = [report for group in ("", "passed", "failed", "error") for report in terminalreporter.getreports(group)]
    if reported := table([report for report in reports if "tests/e2e/" in report.nodeid]):
        Show(ROOT / ".build" / "e2e").keep("stories.md", reported)
        terminalreporter.section("stories, end to end")
        terminalreporter.write_line(reported)
