"""Just enough of HTTP/1.1 to stand between a client and Elasticsearch."""

import asyncio
from dataclasses import dataclass

MAX_HEAD = 64 * 1024


@dataclass(frozen=True)
class Message:
    """A request or an answer: its first line, its headers, its body without any chunks."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def method(self) -> str:
        """Of a request."""
        return self.start.split(" ", 1)[0]

    @property
    def path(self) -> str:
        """Of a request, without its query."""
        return self.start.split(" ")[1].partition("?")[0]

    @property
    def is_bulk(self) -> bool:
        """Whether a request writes documents."""
        return self.path.endswith("/_bulk")

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body

    def with_body(self, body: bytes) -> "Message":
        """The same with another body."""
        kept = tuple((name, value) for name, value in self.headers if name.lower() != "content-length")
        return Message(self.start, (*kept, ("content-length", str(len(body)))), body)


def answer(status: int, body: bytes) -> Message:
    """An answer of our own, in JSON, such as Elasticsearch gives."""
    headers = (("content-type", "application/json"), ("X-elastic-product", "Elasticsearch"))
    return Message(f"HTTP/1.1 {status} Trouble", headers, b"").with_body(body)


def page(status: int, body: bytes, **headers: str) -> Message:
    """An answer of something else than Elasticsearch, such as a gateway or a login page."""
    named = (("content-type", "text/html"), *headers.items())
    return Message(f"HTTP/1.1 {status} Trouble", named, b"").with_body(body)


async def read_request(reader: asyncio.StreamReader) -> Message | None:
    """The next request; None at the end of the connection."""
    try:
        start, headers = await _head(reader)
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None
    return await _with_body(reader, start, headers)


async def read_answer(reader: asyncio.StreamReader, method: str) -> Message:
    """The answer to a request; `method` says whether a body may follow. Raises OSError and EOFError."""
    start, headers = await _head(reader)
    if method == "HEAD" or start.split(" ")[1] in ("204", "304"):
        return Message(start, tuple(headers.items()), b"")
    return await _with_body(reader, start, headers)


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    start, *lines = text[:-4].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return start, {name.strip(): value.strip() for name, _, value in pairs}


async def _with_body(reader: asyncio.StreamReader, start: str, headers: dict[str, str]) -> Message:
    named = {name.lower(): value for name, value in headers.items()}
    if named.get("transfer-encoding") == "chunked":
        kept = tuple((name, value) for name, value in headers.items() if name.lower() != "transfer-encoding")
        return Message(start, kept, b"").with_body(await _chunks(reader))
    length = int(named.get("content-length", "0"))
    return Message(start, tuple(headers.items()), await reader.readexactly(length))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return bytes(body)
