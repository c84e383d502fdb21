"""What REDIS_URL may say.

The client would take a path that is no number for database 0, and fail for an option that it does not know when it
connects. Nothing depends on Redis, so what is wrong must be found at the start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

_NUMBER: Final = r"[0-9]+"
_SWITCH: Final = "true|false|yes|no|1|0"
_TEXT: Final = r"[^\s&]+"
_PLAIN_OPTIONS: Final[dict[str, str]] = {
    "client_name": _TEXT,
    "db": _NUMBER,
    "health_check_interval": _NUMBER,
    "protocol": "2|3",
    "socket_keepalive": _SWITCH,
}
_TLS_OPTIONS: Final[dict[str, str]] = {
    "ssl_ca_certs": _TEXT,
    "ssl_cert_reqs": "required|optional|none",
    "ssl_certfile": _TEXT,
    "ssl_check_hostname": _SWITCH,
    "ssl_keyfile": _TEXT,
}
_HAVE_SETTINGS: Final[Mapping[str, str]] = {
    "socket_connect_timeout": "REDIS_TIMEOUT",
    "socket_timeout": "REDIS_TIMEOUT",
    "timeout": "REDIS_TIMEOUT",
}
_SCHEMES: Final[Mapping[str, Mapping[str, str]]] = {"redis": _PLAIN_OPTIONS, "rediss": _PLAIN_OPTIONS | _TLS_OPTIONS}


_NAMES: Final = "|".join(sorted(_PLAIN_OPTIONS | _TLS_OPTIONS))
PATTERN: Final = rf"^rediss?://[^\s/?#,]+(/[0-9]*)?(\?(({_NAMES})=[^\s&]+(&|$))*)?$"
"""Nearly the same for the chart's schema and the CRD: the path, and the names of the options."""


def check_redis_url(url: str) -> None:
    """Raises ValueError for what is not understood. The URL names a host already."""
    if "," in url.rpartition("@")[2].partition("?")[0]:
        raise ValueError("expected one URL: several servers (Redis Cluster, Sentinel) are not supported")
    parts = urlsplit(url)
    known = _SCHEMES[parts.scheme]
    path = unquote(parts.path)
    if not re.fullmatch(r"(/[0-9]*)?", path):
        raise ValueError(f"expected the number of a database after the host, such as /0, but its path is {path!r}")
    for option in filter(None, parts.query.split("&")):
        name, _, value = option.partition("=")
        if name in _HAVE_SETTINGS:
            raise ValueError(f"the option {name} is set by {_HAVE_SETTINGS[name]}")
        if name not in known:
            reason = "needs rediss://" if name in _TLS_OPTIONS else "is not known"
            raise ValueError(f"the option {name} {reason}; known ones are {', '.join(sorted(known))}")
        if not re.fullmatch(known[name], unquote(value)):
            raise ValueError(f"the option {name} expects {_expected(known[name])}")
        if name == "db" and path.strip("/") not in ("", value):
            raise ValueError("the database is named twice: by the path and by the option db")


def _expected(form: str) -> str:
    return {_NUMBER: "a number", _TEXT: "a value"}.get(form) or f"one of {form.replace('|', ', ')}"
