"""How much to ask for at once: pages of a steady number of bytes, whatever the size of what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST: Final = 100
LARGEST: Final = 2000
TARGET_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class PageSize:
    """Rows of the next page: as many as fill about `target` bytes, judged by the last page."""

    rows: int = FIRST
    target: int = TARGET_BYTES
    largest: int = LARGEST

    def learn(self, rows: int, size: int) -> None:
        """The last page had this many rows, with this many bytes in all. A page grows fourfold at most."""
        if rows:
            fitting = self.target * rows // max(1, size)
            self.rows = max(1, min(self.largest, fitting, self.rows * 4))
