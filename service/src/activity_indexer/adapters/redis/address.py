"""Where a Redis is, and how to log in: what REDIS_URL says. `redis_url.py` has checked it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from activity_indexer.settings import RedisSettings

PORT: Final = 6379
_ON: Final = frozenset({"true", "yes", "1"})
_CERTIFICATES: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server's certificate is checked, and what the client shows; an empty file name is none."""

    ca_file: str = ""
    certificates: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True
    certificate_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """The context of a connection. Raises OSError for a file that cannot be read or is no certificate."""
        context = ssl.create_default_context()
        context.check_hostname = self.check_hostname and self.certificates != ssl.CERT_NONE
        context.verify_mode = self.certificates
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """A server, a database, and a login; `login` has the arguments of AUTH.

    A connection that was idle for `idle_limit` seconds is not used again; 0: it is.
    """

    host: str
    port: int = PORT
    database: int = 0
    login: tuple[str, ...] = ()
    tls: Tls | None = None
    client_name: str = ""
    protocol: int = 2
    keepalive: bool = False
    idle_limit: float = 0.0

    @classmethod
    def of(cls, settings: RedisSettings) -> Address:
        """What the settings say."""
        parts = urlsplit(settings.url.get_secret_value())
        options = dict(parse_qsl(parts.query))
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        tls = None
        if parts.scheme == "rediss":
            tls = Tls(
                str(settings.ca_file or options.get("ssl_ca_certs", "")),
                _CERTIFICATES[options.get("ssl_cert_reqs", "required")],
                options.get("ssl_check_hostname", "true") in _ON,
                options.get("ssl_certfile", ""),
                options.get("ssl_keyfile", ""),
            )
        return cls(
            unquote(parts.hostname or "localhost"),
            parts.port or PORT,
            int(options.get("db") or unquote(parts.path).strip("/") or 0),
            (user, password) if user else (password,) if password else (),
            tls,
            options.get("client_name", ""),
            int(options.get("protocol", 2)),
            options.get("socket_keepalive", "false") in _ON,
            float(options.get("health_check_interval", 0)),
        )
