"""A wall clock that can be moved while an indexer runs.

The kernel has one wall clock for all processes, so moving it would move everybody's, and its time namespaces do not
hold that clock. So an indexer is started with `time.time` replaced before anything of it is imported: all of its code
and of its clients' code that asks for the time of day sees the moved one. Monotonic time goes on as it does.

    python clock.py FILE run        what `activity-indexer run` does, with the offset that FILE holds
"""

import mmap
import struct
import sys
import time
from pathlib import Path

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


def main() -> None:
    """Run the indexer's command line on a moved clock."""
    file, *arguments = sys.argv[1:]
    install(Path(file))
    from activity_indexer.cli import main as run

    run(arguments)


if __name__ == "__main__":
    main()
