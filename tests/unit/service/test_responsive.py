"""Time-outs that a busy event loop does not use up."""

import asyncio
import time

import pytest

from activity_indexer.responsive import ResponsiveTimeout


async def hold(seconds: float) -> None:
    """Hold the loop at each turn for this long."""
    while True:
        time.sleep(seconds)  # noqa: ASYNC251 - what is tested
        await asyncio.sleep(0)


async def test_what_never_answers_is_given_up_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with ResponsiveTimeout(0.05):
            await asyncio.sleep(60)
    assert 0.04 < time.monotonic() - started < 5


async def test_what_answers_in_time_is_not_given_up() -> None:
    async with ResponsiveTimeout(5.0):
        await asyncio.sleep(0)


async def test_an_answer_that_came_while_the_loop_was_held_is_read() -> None:
    holding = asyncio.create_task(hold(0.02))
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(3):
            async with ResponsiveTimeout(0.005):
                writer.write(b"x")
                await reader.readexactly(1)
        holding.cancel()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while byte := await reader.read(1):
        writer.write(byte)
    writer.close()
    await writer.wait_closed()


async def test_an_error_and_a_cancellation_pass_through() -> None:
    with pytest.raises(ValueError, match="inside"):
        async with ResponsiveTimeout(5.0):
            raise ValueError("inside")

    async def wait() -> None:
        async with ResponsiveTimeout(5.0):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
