import json
import logging
import os
import socket
from collections.abc import Callable

import pytest

from activity_indexer_operator.logs import json_formatter
from activity_indexer_operator.settings import Settings, SettingsError, load_settings

Load = Callable[[dict[str, str]], Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Reads the settings where only these variables are set."""

    def loaded(variables: dict[str, str]) -> Settings:
        for name in [name for name in os.environ if name.startswith(("OPERATOR_", "OTEL_"))]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return loaded


def test_without_variables_all_namespaces_are_watched_and_the_host_names_the_instance(load: Load) -> None:
    assert load({}) == Settings(namespaces=(), identity=socket.gethostname())


def test_namespaces_are_a_list_and_empty_variables_count_as_absent(load: Load) -> None:
    settings = load({"OPERATOR_NAMESPACES": "a, b,", "OPERATOR_RESYNC_INTERVAL": ""})
    assert (settings.namespaces, settings.resync_interval) == (("a", "b"), 25.0)


def test_everything_that_is_wrong_is_reported_at_once(load: Load) -> None:
    wrong = {
        "OPERATOR_KAFKA_TIMEOUT": "soon",
        "OPERATOR_LOG_LEVEL": "loud",
        "OPERATOR_RESYNC_INTERVAL": "400",
        "OPERATOR_LEASE_DURATION": "1",
    }
    with pytest.raises(SettingsError) as caught:
        load(wrong)
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == {
        "OPERATOR_LOG_LEVEL",
        "OPERATOR_KAFKA_TIMEOUT",
        "OPERATOR_STALL_TIMEOUT",
        "OPERATOR_LEASE_DURATION",
    }


ENDPOINT, OF_TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("variables", "traces"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({OF_TRACES: "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_traces_are_made_where_the_standards_variables_ask_for_them(
    load: Load, variables: dict[str, str], traces: bool
) -> None:
    assert load(variables).traces is traces


def test_the_protocol_of_traces_alone_wins(load: Load) -> None:
    assert load({}).traces_protocol == "http/protobuf"
    both = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
    assert load(both).traces_protocol == "grpc"
    assert load({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).traces_protocol == "grpc"


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_EXPORTER"])
def test_a_word_that_is_not_known_is_reported(load: Load, name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: input should be .* or .*, got 'pigeon'"):
        load({name: "pigeon"})


def test_a_log_line_is_one_json_object_with_what_the_call_gave() -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "workload.scaled", "levelname": "INFO", "key": "a/b", "to": 3})
    entry = json.loads(json_formatter().format(record))
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "workload.scaled", "level": "info", "logger": "x", "key": "a/b", "to": 3}


def test_a_traceback_is_in_error() -> None:
    failure = ValueError("too bad")
    record = logging.makeLogRecord({"msg": "work.crashed", "exc_info": (ValueError, failure, None)})
    assert json.loads(json_formatter().format(record))["error"] == "ValueError: too bad"


def test_a_line_of_kopf_names_its_object() -> None:
    extra = {"k8s_ref": {"namespace": "a", "name": "b"}, "k8s_skip": True, "settings": object()}
    entry = json.loads(json_formatter().format(logging.makeLogRecord({"msg": "handled", **extra})))
    assert entry["key"] == "a/b"
    assert not {"k8s_ref", "k8s_skip", "settings"} & entry.keys()
