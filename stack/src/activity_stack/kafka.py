"""Kafka: one broker that is its own controller (KRaft), from the published jars."""

from __future__ import annotations

import socket
import struct
import subprocess
from typing import TYPE_CHECKING

from activity_stack import jars
from activity_stack.errors import StackError
from activity_stack.java_server import JavaServer, lock
from activity_stack.ports import HOST
from activity_stack.processes import Launch
from activity_stack.server import PROBE_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path


HEAP = "512m"
CLUSTER_ID = "YWN0aXZpdHktc3RhY2stMQ"
USER = "test"
PASSWORD = "test-secret"  # noqa: S105 - for a loopback server of tests
API_VERSIONS = 18
CORRELATION = 1
LOGGING = """status = error
rootLogger.level = {level}
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = {target}
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{{ISO8601}} %-5p %c{{1.}} - %m%n
"""


class Kafka(JavaServer):
    """The broker, with a plain listener and two secured ones."""

    name = "kafka"

    def listens_on(self) -> dict[str, int]:
        """Three listeners for clients and the controller's."""
        ports = self.ports
        return {
            "kafka": ports.kafka,
            "kafka_ssl": ports.kafka_ssl,
            "kafka_sasl_ssl": ports.kafka_sasl_ssl,
            "kafka_controller": ports.kafka_controller,
        }

    def address(self) -> str:
        """The plain listener, as bootstrap servers are written."""
        return f"{HOST}:{self.ports.kafka}"

    def missing_jars(self) -> list[jars.Jar]:
        """All of the lock, until they are laid out."""
        return [] if self.home.exists() else lock(self.name).jars()

    def prepare(self) -> str:
        """Lay out the jars, write the configuration, format the data folder once."""
        self.install()
        self._configure()
        self._format()
        return lock(self.name).version("kafka-server")

    def launch(self) -> Launch:
        """The broker's main class."""
        options = [*self.run_options(), f"-Dlog4j2.configurationFile={self._logging()}"]
        return Launch((self.java.executable, *options, "kafka.Kafka", str(self._properties())))

    def ready(self) -> bool:
        """Whether it answers ApiVersions, which it does once the broker serves clients."""
        with socket.create_connection((HOST, self.ports.kafka), PROBE_TIMEOUT) as connection:
            request = struct.pack(">hhih5s", API_VERSIONS, 0, CORRELATION, 5, b"stack")
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10)
        return len(answer) == 10 and struct.unpack(">iih", answer)[1:] == (CORRELATION, 0)

    @property
    def home(self) -> Path:
        """Named for the version and the lock."""
        jars_lock = lock(self.name)
        return self.instance.settings.dist / f"kafka-{jars_lock.version('kafka-server')}-{jars_lock.digest[:8]}"

    def build(self, home: Path) -> None:
        """The jars are all there is."""
        jars.lay_out(lock(self.name), self.instance.settings.dist, home)

    def heap_options(self) -> list[str]:
        """Little, for one broker of a developer."""
        return [f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseSerialGC"]

    def tool_command(self, main_class: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """The command line of a console tool of the distribution."""
        logging = self.instance.config(self.name) / "tools.log4j2.properties"
        logging.write_text(LOGGING.format(level="warn", target="SYSTEM_ERR"))
        options = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={logging}")
        return (self.java.executable, *options, "-cp", self.class_path(), main_class, *arguments)

    def _properties(self) -> Path:
        return self.instance.config(self.name) / "server.properties"

    def _logging(self) -> Path:
        return self.instance.config(self.name) / "log4j2.properties"

    def _configure(self) -> None:
        self._logging().write_text(LOGGING.format(level="info", target="SYSTEM_OUT"))
        lines = [f"{name}={value}" for name, value in self._settings().items()]
        self._properties().write_text("\n".join(lines) + "\n")
        self._properties().chmod(0o600)

    def _settings(self) -> dict[str, object]:
        return self._node() | self._listeners() | self._security()

    def _node(self) -> dict[str, object]:
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{self.ports.kafka_controller}",
            "log.dirs": self.instance.data(self.name),
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
        }

    def _listeners(self) -> dict[str, object]:
        ports = self.ports
        clients = (
            f"PLAINTEXT://{HOST}:{ports.kafka},SSL://{HOST}:{ports.kafka_ssl},SASL_SSL://{HOST}:{ports.kafka_sasl_ssl}"
        )
        protocols = ("PLAINTEXT", "SSL", "SASL_SSL")
        return {
            "listeners": f"{clients},CONTROLLER://{HOST}:{ports.kafka_controller}",
            "advertised.listeners": clients,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(["CONTROLLER:PLAINTEXT", *(f"{p}:{p}" for p in protocols)]),
        }

    def _security(self) -> dict[str, object]:
        files, sasl = self.instance.certificates(), "listener.name.sasl_ssl"
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        plain = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": files.server_with_key,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": files.authority,
            "ssl.client.auth": "requested",
            f"{sasl}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            f"{sasl}.plain.sasl.jaas.config": f"{module} required {plain};",
            f"{sasl}.scram-sha-256.sasl.jaas.config": scram,
            f"{sasl}.scram-sha-512.sasl.jaas.config": scram,
        }

    def _format(self) -> None:
        data, done = self.instance.data(self.name), self.instance.data(f"{self.name}.formatted")
        if done.exists() and (data / "meta.properties").exists():
            return
        jars.discard(data)
        data.mkdir(parents=True)
        users = [f"{kind}=[name={USER},password={PASSWORD}]" for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
        arguments = ("format", "-t", CLUSTER_ID, "-c", str(self._properties()))
        added = tuple(word for user in users for word in ("--add-scram", user))
        command = self.tool_command("kafka.tools.StorageTool", arguments + added)
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if result.returncode:
            msg = f"Kafka's data folder {data} cannot be formatted: {result.stdout[-2000:]}{result.stderr[-2000:]}"
            raise StackError(msg)
        done.touch()
