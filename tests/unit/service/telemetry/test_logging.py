import asyncio
import io
import json
import logging
import re
import sys
import warnings

import pytest
import structlog

from activity_indexer.telemetry.logging import (
    PACKAGE,
    REPEAT_INTERVAL,
    RepeatLimit,
    Repeats,
    configure_logging,
    is_debug,
    log_event,
)

pytestmark = pytest.mark.usefixtures("logging_as_before")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def configured(level="info", log_format="json", stream=None):
    stream = stream or io.StringIO()
    configure_logging(level, log_format, stream)
    return stream


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(error):
    raise error


def own():
    return structlog.get_logger(f"{PACKAGE}.part")


def test_our_lines_have_event_level_timestamp_logger_and_key_values():
    out = configured()
    own().info("batch.settled", events=3, seconds=0.5)
    (line,) = lines(out)
    assert list(line) == ["event", "level", "timestamp", "logger", "events", "seconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "event": "batch.settled",
        "level": "info",
        "logger": f"{PACKAGE}.part",
        "events": 3,
        "seconds": 0.5,
    }


@pytest.mark.parametrize("name", ["aiokafka.conn", "elastic_transport.node_pool", "asyncio", "aiohttp.server", "kopf"])
def test_lines_of_libraries_have_the_same_form(name):
    out = configured()
    logging.getLogger(name).warning("Node %s is unavailable", "n1")
    (line,) = lines(out)
    assert list(line) == ["event", "level", "timestamp", "logger"]
    assert (line["event"], line["level"], line["logger"]) == ("Node n1 is unavailable", "warning", name)


async def test_asyncio_reports_lost_exceptions_in_the_same_form():
    out = configured()
    asyncio.get_running_loop().call_exception_handler({"message": "lost", "exception": ValueError("boom")})
    (line,) = lines(out)
    assert line["logger"] == "asyncio"
    assert "ValueError: boom" in line["exception"]


def test_exceptions_are_one_field_of_text():
    out = configured()
    try:
        fail(ValueError("no"))
    except ValueError:
        own().exception("batch.failed")
    (line,) = lines(out)
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: no")


def test_warnings_of_python_are_lines_too():
    out = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = lines(out)
    assert line["logger"] == "py.warnings"


def test_a_crash_is_a_line():
    out = configured()
    error = RuntimeError("boom")
    sys.excepthook(RuntimeError, error, None)
    (line,) = lines(out)
    assert (line["event"], line["level"]) == ("process.crashed", "critical")
    assert "RuntimeError: boom" in line["exception"]


def test_an_interrupt_by_the_keyboard_is_no_crash(capsys):
    out = configured()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert lines(out) == []
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_secrets_are_masked_everywhere():
    out = configured()
    try:
        fail(ConnectionError("postgresql://u:hunter2@db/x"))
    except ConnectionError as error:
        own().exception("database.failed", password="hunter2", url="redis://:hunter2@h", error=error)
    logging.getLogger("aiokafka").error("cannot log in: sasl_plain_password='hunter2'")
    assert len(lines(out)) == 2
    assert "hunter2" not in out.getvalue()


def test_values_that_json_cannot_say_are_written_as_text():
    out = configured()
    own().info("x.seen", surrogate="a\ud800", key={"\ud800": 1}, number=2**80, nan=float("nan"), kind=ValueError)
    (line,) = lines(out)
    assert line["surrogate"] == "a\\ud800"
    assert line["key"] == {"\\ud800": 1}
    assert line["number"] == 2**80
    assert line["nan"] is None
    assert line["kind"] == "<class 'ValueError'>"


def test_a_line_stays_one_line():
    out = configured()
    own().info("x.seen", text='a\nb\r\n{"event": "forged"}')
    assert len(out.getvalue().splitlines()) == 1


def test_key_values_never_replace_the_head():
    out = configured()
    own().info("x.seen", level="debug", timestamp="2024-01-01T00:00:00Z", logger="other")
    (line,) = lines(out)
    assert (line["level"], line["logger"]) == ("info", f"{PACKAGE}.part")
    assert not line["timestamp"].startswith("2024")


def test_info_hides_debug_and_the_requests_of_elasticsearch():
    out = configured("info")
    own().debug("x.seen")
    logging.getLogger("elastic_transport.transport").info("POST /_bulk [status:200]")
    log_event("transaction.created", "tx-1", "m-1")
    assert not is_debug()
    assert lines(out) == []


def test_debug_shows_each_event_as_the_guide_has_it():
    out = configured("debug")
    assert is_debug()
    log_event("transaction.created", "tx-1", "m-1")
    (line,) = lines(out)
    assert {"event", "event_type", "transaction_id", "message_id", "timestamp", "level"} <= line.keys()
    assert line["event"] == "Processing transaction message"
    assert (line["event_type"], line["transaction_id"], line["message_id"]) == ("transaction.created", "tx-1", "m-1")
    assert line["level"] == "debug"


def test_debug_hides_what_libraries_log_of_payloads():
    out = configured("debug")
    logging.getLogger("aiokafka.conn").debug("Request: ProduceRequest(...)")
    assert lines(out) == []


def test_a_higher_level_hides_info():
    out = configured("error")
    own().warning("x.seen")
    logging.getLogger("aiokafka").warning("x")
    own().error("y.seen")
    assert [line["event"] for line in lines(out)] == ["y.seen"]


def test_a_second_configuration_replaces_the_first():
    first, second = configured(), configured()
    own().info("x.seen")
    assert (len(lines(first)), len(lines(second))) == (0, 1)


def test_auto_is_readable_on_a_terminal_and_json_elsewhere(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal, file = configured(log_format="auto", stream=Terminal()), io.StringIO()
    own().info("batch.settled", events=3)
    assert re.search(r"\[info +\] batch\.settled \[activity_indexer\.part\] events=3\n", terminal.getvalue())
    configured(log_format="auto", stream=file)
    own().info("batch.settled", events=3)
    assert lines(file)[0]["events"] == 3


def test_console_shows_exceptions_on_lines_of_their_own():
    out = configured(log_format="console")
    try:
        fail(ValueError("no"))
    except ValueError:
        own().exception("batch.failed")
    assert "\nTraceback (most recent call last):\n" in out.getvalue()
    assert out.getvalue().endswith("ValueError: no\n")


def test_console_lets_no_text_steer_the_terminal():
    out = configured(log_format="console")
    own().info("x.seen", transaction_id="\x1b[2J\r\nforged")
    logging.getLogger("aiokafka").warning("\x1b[31mred")
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 2


def record(name="aiokafka", message="Node %s is unavailable", created=0.0, args=()):
    level = {"levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord({"name": name, "msg": message, "args": args, "created": created, **level})


def test_repeats_of_a_library_are_shown_once_per_interval_with_their_number():
    limit = RepeatLimit()
    shown = [each for tick in range(25) if limit.filter(each := record(created=float(tick)))]
    assert [each.created for each in shown] == [0, REPEAT_INTERVAL, 2 * REPEAT_INTERVAL]
    assert [getattr(each, "suppressed", 0) for each in shown] == [0, 9, 9]


def test_other_messages_and_other_loggers_are_not_held_back():
    limit = RepeatLimit()
    assert all(limit.filter(each) for each in (record(), record(message="Node %s is back"), record(name="asyncio")))


def test_the_number_of_repeats_is_shown():
    out = configured()
    log = logging.getLogger("aiokafka.conn")
    for node, created in enumerate((0.0, 1.0, 2.0, 20.0)):
        log.handle(record("aiokafka.conn", created=created, args=(node,)))
    assert [(line["event"], line.get("suppressed")) for line in lines(out)] == [
        ("Node 0 is unavailable", None),
        ("Node 3 is unavailable", 2),
    ]


def test_our_own_lines_are_never_held_back():
    out = configured()
    for _ in range(5):
        own().info("batch.settled")
    assert len(lines(out)) == 5


def test_a_clock_that_goes_back_holds_nothing_back():
    repeats = Repeats()
    assert repeats.suppressed(1000, "kind") == 0
    assert repeats.suppressed(5, "kind") == 0


def test_kinds_of_repeats_are_bounded():
    repeats = Repeats(kinds=2)
    assert [repeats.suppressed(0, kind) for kind in ("a", "b", "c", "a")] == [0, 0, 0, 0]
    assert repeats.suppressed(0, "a") is None
