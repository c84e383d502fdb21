"""What is said of an error: with the cause that it does not name."""

import errno
import os

from aiokafka.errors import KafkaConnectionError
from elastic_transport import ConnectionError as NoConnection

from activity_indexer.adapters.elasticsearch import bulk as elasticsearch
from activity_indexer.adapters.kafka import client as kafka_client
from activity_indexer.errors import reason_of

EMFILE = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def raised(outer, inner, *, hidden=False):
    """The outer error, raised while the inner one was handled."""
    try:
        try:
            raise inner
        except type(inner):
            if hidden:
                raise outer from None
            raise outer  # noqa: B904 - what client libraries do
    except type(outer) as error:
        return error


def test_an_error_without_a_cause_is_its_text_or_its_name():
    assert reason_of(ValueError("no")) == "no"
    assert reason_of(TimeoutError()) == "TimeoutError"


def test_the_operating_systems_error_is_named_wherever_the_library_keeps_it():
    for error in (
        raised(NoConnection("x"), EMFILE),
        raised(NoConnection("x"), EMFILE, hidden=True),
        NoConnection("x", errors=(raised(NoConnection("y"), EMFILE),)),
    ):
        assert "Too many open files" in reason_of(error)
        assert "Too many open files" in str(elasticsearch.mapped(error))
    assert "Too many open files" in str(kafka_client.mapped(raised(KafkaConnectionError("no broker"), EMFILE)))


def test_a_cause_that_is_named_already_is_not_named_twice():
    error = raised(ValueError("cannot connect: Too many open files"), EMFILE)
    assert reason_of(error) == "cannot connect: Too many open files"


def test_causes_in_a_circle_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert reason_of(one) == "one (ValueError: other)"
