"""The Kafka client's errors that are routine are warnings, and nothing else is."""

import inspect
import io
import json
import logging
from importlib import import_module
from typing import Any

import pytest
from aiokafka import errors

from activity_indexer.telemetry.logging import configure_logging
from activity_indexer.telemetry.routine import PASSING, REBALANCING, ROUTINE

pytestmark = pytest.mark.usefixtures("logging_as_before")

COORDINATOR = "aiokafka.consumer.group_coordinator"
LOOKUP = "Group Coordinator Request failed: %s"
COMMIT = "OffsetCommit failed for group %s due to group error (%s), will rejoin"
METADATA = "Error fetching metadata for topic %s: %s"


@pytest.fixture
def out() -> io.StringIO:
    """What is written."""
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    return stream


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def arguments(at: int, error: object) -> list[object]:
    return ["x"] * at + [error]


@pytest.mark.parametrize(("name", "template"), ROUTINE)
def test_a_routine_error_is_a_warning(out: io.StringIO, name: str, template: str) -> None:
    at, kinds = ROUTINE[name, template]
    values = arguments(at, getattr(errors, min(kinds))())
    logging.getLogger(name).error(template, *values, *["x"] * (template.count("%s") - len(values)))
    assert [line["level"] for line in lines(out)] == ["warning"]


@pytest.mark.parametrize(("name", "template"), ROUTINE)
def test_the_client_still_says_it_in_these_words(name: str, template: str) -> None:
    """When the client's words change, this fails, and not an alert on errors."""
    source = "".join(inspect.getsource(import_module(name)).split()).replace('""', "")
    assert f'log.error("{"".join(template.split())}"' in source


@pytest.mark.parametrize("kind", sorted(PASSING | REBALANCING))
def test_the_errors_are_the_clients(kind: str) -> None:
    assert issubclass(getattr(errors, kind), errors.KafkaError)


@pytest.mark.parametrize("kind", sorted(PASSING))
def test_what_passes_is_what_the_client_itself_repeats(kind: str) -> None:
    assert getattr(errors, kind).retriable


def test_an_error_may_come_as_its_class(out: io.StringIO) -> None:
    logging.getLogger("aiokafka.cluster").error(METADATA, "t", errors.LeaderNotAvailableError)
    assert [line["level"] for line in lines(out)] == ["warning"]


@pytest.mark.parametrize(
    ("name", "template", "values"),
    [
        (COORDINATOR, LOOKUP, [errors.GroupAuthorizationFailedError("g")]),
        (COORDINATOR, LOOKUP, [errors.SaslAuthenticationFailed("no")]),
        (COORDINATOR, LOOKUP, [errors.KafkaError("unknown")]),
        (COORDINATOR, LOOKUP, [errors.RebalanceInProgressError()]),
        (COORDINATOR, LOOKUP, ["GroupCoordinatorNotAvailableError"]),
        (COORDINATOR, COMMIT, ["g", errors.GroupAuthorizationFailedError("g")]),
        (COORDINATOR, COMMIT, ["g", errors.GroupCoordinatorNotAvailableError()]),
        ("aiokafka.cluster", METADATA, ["t", errors.UnknownTopicOrPartitionError]),
        ("aiokafka.cluster", METADATA, ["t", errors.InvalidTopicError]),
        ("aiokafka.cluster", "Topic %s is not authorized for this client", ["t"]),
        ("aiokafka.cluster", "Topic %s not found in cluster metadata", ["t"]),
        ("aiokafka", 'Unable connect to "%s:%s": %s', ["h", 1, errors.KafkaConnectionError()]),
        ("aiokafka", LOOKUP, [errors.GroupCoordinatorNotAvailableError()]),
        (COORDINATOR, f"{LOOKUP} ", [errors.GroupCoordinatorNotAvailableError()]),
        (COORDINATOR, "Unexpected error in join group '%s' response: %s", ["g", errors.NodeNotReadyError()]),
        (COORDINATOR, "Heartbeat session expired - marking coordinator dead", []),
    ],
)
def test_every_other_error_stays_one(out: io.StringIO, name: str, template: str, values: list[object]) -> None:
    logging.getLogger(name).error(template, *values)
    assert [line["level"] for line in lines(out)] == ["error"]


def test_an_error_of_another_library_that_has_the_name_stays_one(out: io.StringIO) -> None:
    other = type("GroupCoordinatorNotAvailableError", (RuntimeError,), {})
    logging.getLogger(COORDINATOR).error(LOOKUP, other())
    assert [line["level"] for line in lines(out)] == ["error"]


def test_an_exception_with_its_traceback_stays_an_error(out: io.StringIO) -> None:
    try:
        raise errors.GroupCoordinatorNotAvailableError
    except errors.KafkaError as error:
        logging.getLogger(COORDINATOR).exception(LOOKUP, error)  # noqa: TRY401 - as the client gives it
    assert [line["level"] for line in lines(out)] == ["error"]


def test_a_critical_line_stays_critical(out: io.StringIO) -> None:
    logging.getLogger(COORDINATOR).critical(LOOKUP, errors.GroupCoordinatorNotAvailableError())
    assert [line["level"] for line in lines(out)] == ["critical"]


def test_a_routine_line_hides_no_error_of_the_same_words(out: io.StringIO) -> None:
    log = logging.getLogger(COORDINATOR)
    log.error(LOOKUP, errors.GroupCoordinatorNotAvailableError())
    log.error(LOOKUP, errors.SaslAuthenticationFailed("no"))
    log.error(LOOKUP, errors.GroupCoordinatorNotAvailableError())
    assert [line["level"] for line in lines(out)] == ["warning", "error"]


def test_where_only_errors_are_wanted_what_is_routine_is_not_shown() -> None:
    stream = io.StringIO()
    configure_logging("error", "json", stream)
    logging.getLogger(COORDINATOR).error(LOOKUP, errors.GroupCoordinatorNotAvailableError())
    logging.getLogger(COORDINATOR).error(LOOKUP, errors.SaslAuthenticationFailed("no"))
    assert [line["level"] for line in lines(stream)] == ["error"]
