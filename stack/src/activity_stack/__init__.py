"""The local stack: real Kafka, Elasticsearch, Redis and PostgreSQL on loopback, for development and tests."""

from activity_stack.errors import StackError
from activity_stack.stack import Stack

__all__ = ["Stack", "StackError"]
