"""docker-compose.yml, started beside whatever else runs on the machine."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

from e2e.commands import free_port, run


@dataclass(frozen=True)
class Compose:
    """One project: its name, and the ports of the host that it takes, by variable."""

    name: str
    ports: dict[str, int]

    @classmethod
    def with_free_ports(cls) -> Compose:
        """A project that collides with no other."""
        variables = (
            *("KAFKA_PORT", "ELASTICSEARCH_PORT", "REDIS_PORT", "POSTGRES_PORT", "CONSUMER_PORTS"),
            *("OTLP_PORT", "OTLP_METRICS_PORT", "JAEGER_PORT"),
        )
        return cls(f"activity-e2e-{secrets.token_hex(3)}", {variable: free_port() for variable in variables})

    def __call__(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 300,
        variables: Mapping[str, str] | None = None,
    ) -> CompletedProcess[str]:
        """`docker compose` with these arguments."""
        env = {variable: str(port) for variable, port in self.ports.items()} | dict(variables or {})
        return run("docker", "compose", "-p", self.name, *arguments, env=env, check=check, stdin=stdin, timeout=timeout)

    def execute(self, service: str, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """What a command in a service's container writes to its standard output."""
        return self("exec", "-T", service, *command, check=check, stdin=stdin).stdout

    def address(self, variable: str) -> str:
        """URL of a port on loopback."""
        return f"http://127.0.0.1:{self.ports[variable]}"

    def states(self) -> dict[str, tuple[str, int]]:
        """State ("running (healthy)", …) and exit code by service, ended ones included."""
        lines = self("ps", "--all", "--format", "json").stdout.splitlines()
        return {p["Service"]: (_state(p), int(p["ExitCode"])) for p in map(json.loads, lines)}

    def dump(self) -> str:
        """What there is to know after a failure."""
        asked = (("ps", "--all"), ("logs", "--no-color", "--tail", "80"))
        answers = [self(*arguments, check=False) for arguments in asked]
        return "\n".join(answer.stdout + answer.stderr for answer in answers)

    def down(self) -> None:
        """Removes containers, networks and volumes."""
        self("--profile", "publish-data", "--profile", "tracing", "down", "--volumes", "--timeout", "30", check=False)


def _state(process: dict[str, Any]) -> str:
    return f"{process['State']} ({process['Health']})" if process["Health"] else str(process["State"])
