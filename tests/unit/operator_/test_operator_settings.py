import json
import logging

import pytest

from activity_indexer_operator.logs import JsonFormatter
from activity_indexer_operator.settings import Settings, SettingsError, load_settings


def test_without_variables_all_namespaces_are_watched_and_the_host_names_the_instance() -> None:
    assert load_settings({}, hostname="operator-0") == Settings(namespaces=(), identity="operator-0")


def test_namespaces_are_a_list_and_empty_variables_count_as_absent() -> None:
    settings = load_settings({"OPERATOR_NAMESPACES": "a, b,", "OPERATOR_RESYNC_INTERVAL": ""})
    assert (settings.namespaces, settings.resync_interval) == (("a", "b"), 25.0)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = {
        "OPERATOR_KAFKA_TIMEOUT": "soon",
        "OPERATOR_LOG_LEVEL": "loud",
        "OPERATOR_RESYNC_INTERVAL": "400",
        "OPERATOR_LEASE_DURATION": "1",
    }
    with pytest.raises(SettingsError) as caught:
        load_settings(wrong)
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == {
        "OPERATOR_LOG_LEVEL",
        "OPERATOR_KAFKA_TIMEOUT",
        "OPERATOR_STALL_TIMEOUT",
        "OPERATOR_LEASE_DURATION",
    }


def test_a_log_line_is_one_json_object_with_what_the_call_gave() -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "workload.scaled", "levelname": "INFO", "key": "a/b", "to": 3})
    entry = json.loads(JsonFormatter().format(record))
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "workload.scaled", "level": "info", "logger": "x", "key": "a/b", "to": 3}
