"""How the API server is reached: by the pod's service account, else by the user's kubeconfig."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import kopf

TOKEN_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TOKEN_AGE_MAX: Final = 60.0
"""Seconds after which the token is read anew: the kubelet replaces the file long before a token ends."""


class NoConnectionError(Exception):
    """Neither a service account nor a kubeconfig is there."""


@dataclass(slots=True)
class Connection:
    """Where the API server is and how it knows us."""

    server: str
    tls: ssl.SSLContext | None
    headers: dict[str, str]
    token_file: Path | None
    read_at: float = 0.0

    def authorization(self) -> dict[str, str]:
        """Headers of a request made now."""
        if self.token_file and time.monotonic() - self.read_at > TOKEN_AGE_MAX:
            self.headers = {"Authorization": f"Bearer {self.token_file.read_text('utf-8').strip()}"}
            self.read_at = time.monotonic()
        return self.headers


def login(settings: kopf.OperatorSettings | None = None, **_: Any) -> kopf.ConnectionInfo | None:
    """Kopf's way to log in, which is ours too."""
    given = {"settings": settings or kopf.OperatorSettings()}
    return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)


def connect() -> Connection:
    """Reads the service account or the kubeconfig. Raises NoConnectionError."""
    info = login()
    if info is None:
        raise NoConnectionError("expected a service account or a kubeconfig, found neither; set KUBECONFIG")
    tls = info.as_ssl_context() if info.server.startswith("https:") else None
    token_file = TOKEN_FILE if TOKEN_FILE.exists() else None
    return Connection(info.server.rstrip("/"), tls, info.as_http_headers(), token_file)
