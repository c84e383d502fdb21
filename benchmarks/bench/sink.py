"""A blackhole in place of Elasticsearch: `python -m bench.sink PORT ELASTICSEARCH_URL [RECORD]`.

It answers bulk requests at once as if every document were written, in the form that the request's `filter_path` asks
for, and counts documents; with RECORD it keeps the bodies in that file. Spans and metrics sent by OTLP are taken and
dropped. Everything else (creating the index, its mapping) is answered by the Elasticsearch behind it. Its own CPU time
is not part of what is measured.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import sys
import urllib.parse
from typing import BinaryIO, Final, cast

STATS: Final = "/_bench/stats"
RESET: Final = "/_bench/reset"
ITEM: Final[dict[str, object]] = {
    "_id": "6f9619ff-8b86-d011-b42d-000000000001",
    "_version": 5,
    "result": "created",
    "_shards": {"total": 1, "successful": 1, "failed": 0},
    "_seq_no": 12345,
    "_primary_term": 1,
    "status": 201,
}
"""What Elasticsearch answers for one written document."""

HEAD_END: Final = b"\r\n\r\n"


@functools.cache
def answer(documents: int, alias: str, filter_path: str) -> bytes:
    """The body of the answer to a bulk request of this many documents."""
    written = {**ITEM, "_index": f"{alias}-000001"}  # the name that the indexer gives the index behind its alias
    wanted = [path for path in filter_path.split(",") if path]
    whole: dict[str, object] = {"errors": False, "took": 1}
    item = written
    if wanted:
        whole = {name: value for name, value in whole.items() if name in wanted}
        names = {path.split(".")[2] for path in wanted if path.startswith("items.") and path.count(".") >= 2}
        item = written if "items" in wanted else {name: written[name] for name in written if name in names}
    if item:
        whole["items"] = [{"index": item}] * documents
    return json.dumps(whole, separators=(",", ":")).encode()


class Counts:
    """What came since the last reset."""

    def __init__(self, record: BinaryIO | None = None) -> None:
        self.record = record
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.documents = self.requests = self.bytes = self.under_way = self.most_under_way = 0

    def began(self) -> None:
        """A bulk request begins to arrive."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)

    def ended(self, documents: int, size: int) -> None:
        """It is answered."""
        self.under_way -= 1
        self.documents += documents
        self.requests += 1
        self.bytes += size

    def as_json(self) -> bytes:
        """For the harness."""
        names = ("documents", "requests", "bytes", "most_under_way")
        return json.dumps({name: getattr(self, name) for name in names}).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection of a client, kept alive."""

    def __init__(self, counts: Counts, behind: urllib.parse.SplitResult) -> None:
        self._counts = counts
        self._behind = behind
        self._bytes = bytearray()
        self._head: list[str] | None = None
        self._length = 0
        self._forwarding: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._bytes += data
        while True:
            if self._head is None:
                end = self._bytes.find(HEAD_END)
                if end < 0:
                    return
                self._head = self._bytes[:end].decode("latin-1").split("\r\n")
                del self._bytes[: end + len(HEAD_END)]
                self._length = int(self._header("content-length") or 0)
                if self._is_bulk():
                    self._counts.began()
            if len(self._bytes) < self._length:
                return
            body = bytes(self._bytes[: self._length])
            del self._bytes[: self._length]
            self._take(self._head, body)
            self._head = None

    def _header(self, name: str) -> str:
        for line in self._head or ():
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return ""

    def _is_bulk(self) -> bool:
        return bool(self._head) and self._target().path.endswith("/_bulk")

    def _target(self) -> urllib.parse.SplitResult:
        return urllib.parse.urlsplit((self._head or ["GET /"])[0].split(" ")[1])

    def _take(self, head: list[str], body: bytes) -> None:
        target = self._target()
        if self._is_bulk():
            documents = body.count(b"\n") // 2
            (filter_path,) = urllib.parse.parse_qs(target.query).get("filter_path", [""])
            reply = answer(documents, target.path.split("/")[1], filter_path)
            kind = self._header("accept")
            self._send(200, reply, kind if "compatible-with" in kind else "")
            if self._counts.record is not None:
                self._counts.record.write(len(body).to_bytes(8, "big") + body)
            self._counts.ended(documents, len(body))
        elif target.path in {STATS, RESET}:
            if target.path == RESET:
                self._counts.reset()
            self._send(200, self._counts.as_json())
        elif target.path.startswith("/v1/"):  # OTLP
            self._send(200, b"", "application/x-protobuf")
        else:
            self._forwarding = asyncio.get_running_loop().create_task(self._forward(head, body))

    def _send(self, status: int, body: bytes, kind: str = "") -> None:
        self._transport.write(
            b"HTTP/1.1 %d OK\r\nContent-Type: %b\r\nX-Elastic-Product: Elasticsearch\r\nContent-Length: %d\r\n\r\n%b"
            % (status, (kind or "application/json").encode(), len(body), body)
        )

    async def _forward(self, head: list[str], body: bytes) -> None:
        """A client waits for each answer before it sends the next request of a connection."""

        def ask() -> bytes:
            method, target, _ = head[0].split(" ")
            headers = dict(line.split(": ", 1) for line in head[1:] if not line.lower().startswith("host:"))
            connection = http.client.HTTPConnection(self._behind.netloc, timeout=60)
            try:
                connection.request(method, target, body or None, headers)
                reply = connection.getresponse()
                content = reply.read()
            finally:
                connection.close()
            lines = [f"HTTP/1.1 {reply.status} {reply.reason}"]
            lines += [
                f"{name}: {value}"
                for name, value in reply.getheaders()
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}
            ]
            length = reply.getheader("content-length") if method == "HEAD" else str(len(content))
            return "\r\n".join([*lines, f"content-length: {length or 0}", "", ""]).encode("latin-1") + content

        answered = await asyncio.to_thread(ask)
        if not self._transport.is_closing():
            self._transport.write(answered)


async def serve(port: int, elasticsearch: str, record: BinaryIO | None = None) -> None:
    """Until the process ends."""
    counts = Counts(record)
    behind = urllib.parse.urlsplit(elasticsearch)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(counts, behind), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve as the arguments say."""
    port, elasticsearch, *record = sys.argv[1:]
    import uvloop  # noqa: PLC0415 - tests use the protocol without it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if record:
            with open(record[0], "wb", buffering=0) as file:  # noqa: PTH123 - as short
                runner.run(serve(int(port), elasticsearch, file))
        runner.run(serve(int(port), elasticsearch))


if __name__ == "__main__":
    main()
