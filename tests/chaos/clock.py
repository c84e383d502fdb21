"""A wall clock that can be moved while an indexer runs.

The kernel has one wall clock for all processes, so moving it would move everybody's, and its time namespaces do not
hold that clock. So an indexer is started with `time.time` replaced before anything of it is imported: all of its code
and of its clients' code that asks for the time of day sees the moved one. Monotonic time goes on as it does. Kafka's
client builds records in C, which asks the kernel itself: its records are given the moved time.

    python clock.py FILE run        what `activity-indexer run` does, with the offset that FILE holds
"""

import mmap
import struct
import sys
import time
from pathlib import Path
from typing import Any

FORM = "d"


class Clock:
    """The offset of all wall clocks that were started with this file, in seconds."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.move(0.0)

    def move(self, seconds: float) -> None:
        """Set how far the clocks are off."""
        mode = "r+b" if self.file.exists() else "w+b"
        with self.file.open(mode) as file:
            file.write(struct.pack(FORM, seconds))

    @property
    def command(self) -> list[str]:
        """What Python is started with to run an indexer on this clock."""
        return [__file__, str(self.file), "run"]


def install(file: Path) -> None:
    """Move this process' clock by what the file holds, now and whenever it changes."""
    with file.open("rb") as opened:
        view = mmap.mmap(opened.fileno(), struct.calcsize(FORM), access=mmap.ACCESS_READ)
    real = time.time

    def moved() -> float:
        return real() + float(struct.unpack_from(FORM, view)[0])

    time.time = moved


def stamp_records() -> None:
    """Records that are sent without a time carry this process' own."""
    from aiokafka.producer.message_accumulator import BatchBuilder

    append = BatchBuilder.append

    def stamped(self: Any, *, timestamp: int | None, **record: Any) -> Any:
        return append(self, timestamp=int(time.time() * 1000) if timestamp is None else timestamp, **record)

    BatchBuilder.append = stamped


def main() -> None:
    """Run the indexer's command line on a moved clock."""
    file, *arguments = sys.argv[1:]
    install(Path(file))
    stamp_records()
    from activity_indexer.cli import main as run

    run(arguments)


if __name__ == "__main__":
    main()
