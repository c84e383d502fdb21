"""The connection to Redis: replies in their order, lost connections, logins and what errors say."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import hiredis
import pytest
from fixtures.clock import Clock

from activity_indexer.adapters.redis.address import Address
from activity_indexer.adapters.redis.client import RedisClient, beginning, encoded
from activity_indexer.adapters.redis.errors import RedisError, explained
from activity_indexer.adapters.redis.store import RedisSeenStore
from activity_indexer.errors import Unavailable
from activity_indexer.positions import Partition
from activity_indexer.settings import RedisSettings

Answer = Callable[[list[bytes]], bytes | None]
PING = encoded(b"PING")


class Server:
    """Answers each command by a function, and keeps them by connection; None closes the connection."""

    def __init__(self, answer: Answer, greeting: bytes = b"") -> None:
        self.connections: list[list[list[bytes]]] = []
        self.asked = asyncio.Event()
        self._handlers: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._answer = answer
        self._greeting = greeting

    def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._handlers.append(asyncio.create_task(self._handle(reader, writer)))

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
        await self.ended()

    async def ended(self) -> None:
        if self._handlers:
            await asyncio.wait(self._handlers)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except ConnectionError:
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands: list[list[bytes]] = []
        self.connections.append(commands)
        protocol = hiredis.Reader()
        writer.write(self._greeting)
        while data := await reader.read(65536):
            protocol.feed(data)
            while (found := protocol.gets()) is not False:
                commands.append(found)
                self.asked.set()
                reply = self._answer(found)
                if reply is None:
                    return
                writer.write(reply)


@asynccontextmanager
async def client_of(
    answer: Answer,
    url: str = "redis://{address}",
    greeting: bytes = b"",
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[tuple[RedisClient, Server]]:
    server = Server(answer, greeting)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        client = RedisClient(RedisSettings(url=url.format(address=f"127.0.0.1:{port}")), clock)
        try:
            yield client, server
        finally:
            await client.close()
            await server.ended()


def always(reply: bytes | None) -> Answer:
    return lambda _command: reply


def echo(command: list[bytes]) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])


async def test_replies_belong_to_their_questions_though_many_wait() -> None:
    async with client_of(echo) as (client, server):
        texts = [b"a" * length + b"\r\n$3\r\n\0" for length in range(0, 20_000, 1_000)]
        asked = [client.ask(encoded(b"ECHO", text), 5.0) for text in texts]
        assert await asyncio.gather(*asked) == texts
    assert len(server.connections) == 1


async def test_a_command_may_be_put_together_from_its_beginning() -> None:
    async with client_of(echo) as (client, server):
        assert await client.ask(beginning(3, b"MGET", b"a") + b"$1\r\nb\r\n", 5.0) == b"b"
    assert server.connections == [[[b"MGET", b"a", b"b"]]]


async def test_an_error_is_in_the_servers_words_and_the_connection_stays() -> None:
    replies = iter([b"-READONLY You can't write\r\n", b"+PONG\r\n"])
    async with client_of(lambda _: next(replies)) as (client, server):
        with pytest.raises(Unavailable, match=r"^Redis: READONLY You can't write \(it is a read-only replica"):
            await client.ask(PING, 5.0)
        assert await client.ask(PING, 5.0) == b"PONG"
    assert len(server.connections) == 1


async def test_a_connection_that_the_server_closed_is_made_again() -> None:
    replies = iter([b"+1\r\n", None, b"+2\r\n"])
    async with client_of(lambda _: next(replies)) as (client, server):
        assert await client.ask(PING, 5.0) == b"1"
        with pytest.raises(Unavailable, match="the server closed the connection"):
            await client.ask(PING, 5.0)
        assert await client.ask(PING, 5.0) == b"2"
    assert len(server.connections) == 2


async def test_a_connection_that_was_closed_in_between_is_not_noticed() -> None:
    async with client_of(always(b"+PONG\r\n")) as (client, server):
        assert await client.ask(PING, 5.0) == b"PONG"
        await server.hang_up()
        assert await client.ask(PING, 5.0) == b"PONG"
    assert len(server.connections) == 2


async def test_a_late_reply_is_never_taken_for_another_one() -> None:
    async with client_of(lambda command: echo(command) if command[-1] != b"slow" else b"") as (client, server):
        with pytest.raises(Unavailable, match="TimeoutError"):
            await client.ask(encoded(b"ECHO", b"slow"), 0.05)
        assert await client.ask(encoded(b"ECHO", b"next"), 5.0) == b"next"
    assert len(server.connections) == 2


async def test_a_question_that_is_given_up_closes_the_connection() -> None:
    async with client_of(always(b"")) as (client, server):
        asking = asyncio.create_task(client.ask(PING, 5.0))
        await server.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        other = asyncio.create_task(client.ask(PING, 0.1))
        with pytest.raises(Unavailable):
            await other
    assert len(server.connections) == 2


async def test_what_is_not_redis_is_named() -> None:
    async with client_of(always(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as (client, _):
        with pytest.raises(Unavailable, match="NotRedis"):
            await client.ask(PING, 5.0)


async def test_a_server_that_refuses_the_connection_with_a_reason_is_quoted() -> None:
    async with client_of(always(b""), greeting=b"-ERR max number of clients reached\r\n") as (client, _):
        with pytest.raises(Unavailable, match="max number of clients reached"):
            await client.ask(PING, 5.0)


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("redis://{address}", []),
        ("redis://:p%2Fw@{address}/3", [[b"AUTH", b"p/w"], [b"SELECT", b"3"]]),
        ("redis://u%40x:pw@{address}?db=4", [[b"AUTH", b"u@x", b"pw"], [b"SELECT", b"4"]]),
        ("redis://u@{address}", [[b"AUTH", b"u", b""]]),
        (
            "redis://{address}?client_name=me&protocol=3&socket_keepalive=yes",
            [[b"HELLO", b"3"], [b"CLIENT", b"SETNAME", b"me"]],
        ),
    ],
)
async def test_a_connection_logs_in_as_the_url_says(url: str, first: list[list[bytes]]) -> None:
    async with client_of(always(b"+OK\r\n"), url) as (client, server):
        await client.ask(PING, 5.0)
        await client.ask(PING, 5.0)
    assert server.connections == [[*first, [b"PING"], [b"PING"]]]


async def test_a_server_that_knows_no_users_gets_the_password_alone() -> None:
    def answer(command: list[bytes]) -> bytes:
        return b"-ERR wrong number of arguments for 'auth' command\r\n" if len(command) == 3 else b"+OK\r\n"

    async with client_of(answer, "redis://u:pw@{address}") as (client, server):
        assert await client.ask(PING, 5.0) == b"OK"
    assert server.connections == [[[b"AUTH", b"u", b"pw"], [b"AUTH", b"pw"], [b"PING"]]]


async def test_a_wrong_password_is_said_each_time_and_never_shown() -> None:
    async with client_of(always(b"-WRONGPASS invalid username-password pair\r\n"), "redis://u:hunter2@{address}") as (
        client,
        server,
    ):
        for _ in range(2):
            with pytest.raises(Unavailable, match="correct the user and password of REDIS_URL") as caught:
                await client.ask(PING, 5.0)
            assert "hunter2" not in str(caught.value)
    assert len(server.connections) == 2


async def test_a_refused_login_is_tried_once_for_a_question() -> None:
    async with client_of(always(b"-WRONGPASS invalid username-password pair\r\n"), "redis://u:p@{address}") as (
        client,
        server,
    ):
        with pytest.raises(Unavailable, match="WRONGPASS"):
            await client.refuse_cluster(5.0)
    assert len(server.connections) == 1


async def test_without_the_right_to_ask_for_it_a_server_is_taken_as_it_is() -> None:
    async with client_of(always(b"-NOPERM this user has no permissions to run the 'info' command\r\n")) as (client, _):
        await client.refuse_cluster(5.0)


@pytest.mark.parametrize("host", ["redis..svc", ".redis", "a" * 64, "a%00b"])
async def test_a_host_that_cannot_be_looked_up_is_unavailable(host: str) -> None:
    client = RedisClient(RedisSettings(url=f"redis://{host}:6379/0"))
    with pytest.raises(Unavailable, match="Redis"):
        await client.ask(PING, 5.0)


async def test_a_connection_with_a_question_under_way_is_not_idle() -> None:
    clock = Clock(0.0)
    url = "redis://{address}?health_check_interval=1"
    async with client_of(always(b""), url, clock=clock) as (client, server):
        first = asyncio.create_task(client.ask(PING, 5.0))
        await server.asked.wait()
        clock.now = 5.0
        with pytest.raises(Unavailable, match="TimeoutError"):
            await client.ask(PING, 0.1)
        with pytest.raises(Unavailable):
            await first
    assert len(server.connections) == 1


async def test_an_idle_connection_is_not_trusted_for_longer_than_the_url_says() -> None:
    clock = Clock(0.0)
    url = "redis://{address}?health_check_interval=1"
    async with client_of(always(b"+OK\r\n"), url, clock=clock) as (client, server):
        for now in (0.0, 1.0, 2.0, 3.1, 4.0):
            clock.now = now
            await client.ask(PING, 5.0)
    assert [len(commands) for commands in server.connections] == [3, 2]


def test_the_address_is_what_the_url_says() -> None:
    settings = RedisSettings(
        url="rediss://[::1]:6380?ssl_cert_reqs=none&ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k"
    )
    address = Address.of(settings)
    assert (address.host, address.port, address.database) == ("::1", 6380, 0)
    assert address.tls is not None
    assert (address.tls.ca_file, address.tls.certificate_file, address.tls.key_file) == ("/ca", "/c", "/k")
    assert address.tls.certificates is ssl.CERT_NONE


def test_a_certificate_is_asked_for_and_must_name_the_host() -> None:
    address = Address.of(RedisSettings(url="rediss://redis"))
    assert address.tls is not None
    context = address.tls.context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    unchecked = Address.of(RedisSettings(url="rediss://redis?ssl_check_hostname=false")).tls
    assert unchecked is not None
    assert not unchecked.context().check_hostname


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "it is full"),
        ("ERR Error running script: @user_script:5: -OOM command not allowed", "it is full"),
        ("READONLY You can't write against a read only replica.", "read-only replica"),
        ("NOPERM this user has no permissions to run the 'evalsha' command", "it must allow MGET"),
        ("ERR unknown command 'EVALSHA'", "it must allow MGET"),
        ("NOAUTH Authentication required.", "it refuses the login"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "it refuses the login"),
        ("MOVED 3999 127.0.0.1:6381", "Redis Cluster is not supported"),
        ("CLUSTERDOWN Hash slot not served", "Redis Cluster is not supported"),
        ("MISCONF Redis is configured to save RDB snapshots", "cannot save its data"),
        ("ERR DB index is out of range", "no such database"),
        ("LOADING Redis is loading the dataset in memory", ""),
    ],
)
def test_an_error_is_quoted_with_what_to_do(error: str, advice: str) -> None:
    text = explained(RedisError(error))
    assert text.startswith(f"Redis: {error}")
    assert advice in text
    assert bool(advice) == text.endswith(")")


async def test_the_store_keeps_offsets_in_no_node_of_a_cluster_either() -> None:
    text = b"cluster_enabled:1\r\n"
    server = Server(lambda command: b"$%d\r\n%b\r\n" % (len(text), text) if command[0] == b"INFO" else b":1\r\n")
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listening:
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        store = RedisSeenStore(RedisSettings(url=url), 60.0, lambda: "namespace")
        for asking in (store.remember({Partition("t", 0): 1}), store.committed([Partition("t", 0)])):
            with pytest.raises(Unavailable, match="Cluster is not supported"):
                await asking
        await store.stop()
        await server.ended()
