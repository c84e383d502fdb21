"""Kafka's console tools, as the distribution names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activity_stack.kafka import Kafka

if TYPE_CHECKING:
    from activity_stack.stack import Stack

TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
}
BOOTSTRAP = "--bootstrap-server"


def tool_command(stack: Stack, tool: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The command line of a tool, pointed at the stack's broker unless the arguments name one."""
    kafka = stack.servers[Kafka.name]
    assert isinstance(kafka, Kafka)  # noqa: S101 - mypy does not know what the catalog says
    named = any(word.split("=")[0] in {BOOTSTRAP, "--bootstrap-controller"} for word in arguments)
    target = () if named else (BOOTSTRAP, stack.addresses.kafka)
    return kafka.tool_command(TOOLS[tool], (*target, *arguments))
