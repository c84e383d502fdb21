"""The API server of the operator's unit tests keeps what tests/e2e/test_api_server.py sees a real one keep."""

from __future__ import annotations

import pytest
from contract.cluster import ClusterContract
from fixtures.memory.cluster import NAMESPACE, FakeCluster


class TestFakeCluster(ClusterContract):
    @pytest.fixture
    def api(self) -> FakeCluster:
        return FakeCluster()

    @pytest.fixture
    def namespace(self) -> str:
        return NAMESPACE
