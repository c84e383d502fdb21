"""What is in flight, and the low-water mark below which everything is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Span:
    """Offsets of one partition that are in one batch, in ascending order.

    `published` is when the first of them was published (milliseconds since the epoch).
    """

    __slots__ = ("_left", "_settled", "offsets", "published")

    def __init__(self, offsets: Sequence[int], published: int = 0) -> None:
        self.offsets = offsets
        self.published = published
        self._settled: bytearray | None = None
        self._left = len(offsets)

    def shorten(self, count: int) -> None:
        """Keep the first offsets only, of a span of which nothing is settled."""
        self.offsets = self.offsets[:count]
        self._left = count

    def settle_all(self) -> None:
        """Every offset is settled."""
        self._left = 0

    def settle(self, index: int) -> None:
        """The offset at this place is settled; saying so twice is harmless."""
        if self._left == 0:
            return
        if self._settled is None:
            self._settled = bytearray(len(self.offsets))
        if not self._settled[index]:
            self._settled[index] = 1
            self._left -= 1

    @property
    def settled(self) -> bool:
        """Whether every offset is settled."""
        return self._left == 0

    def first_unsettled(self) -> int:
        """The lowest offset that is not settled."""
        return self.offsets[0 if self._settled is None else self._settled.index(0)]


class PartitionOffsets:
    """The spans of one partition, in the order in which they were taken."""

    def __init__(self) -> None:
        self._spans: deque[Span] = deque()
        self._mark: int | None = None
        self._committed: int | None = None
        self._received: int | None = None
        self._first: int | None = None
        self._published = 0

    def receive(self, offset: int) -> None:
        """The client handed out records up to this offset; they are unsettled until a span that holds them is."""
        self._received = offset

    def take(self, offsets: Sequence[int], published: int = 0) -> Span:
        """Offsets go into a batch; they must be above all that were taken before."""
        if self._first is None:
            self._first = offsets[0]
        span = Span(offsets, published)
        self._spans.append(span)
        return span

    def split(self, span: Span, count: int, published: int) -> Span:
        """Leave a span its first offsets; returns a span of the others. Nothing of it may be settled yet."""
        rest = Span(span.offsets[count:], published)
        span.shorten(count)
        self._spans.insert(self._spans.index(span) + 1, rest)
        return rest

    @property
    def idle(self) -> bool:
        """Whether nothing that was received is unsettled."""
        self._advance()
        return not self._spans and (self._received is None or (self._mark is not None and self._mark > self._received))

    def mark(self) -> int | None:
        """The offset to commit: the first that is not settled; None when none was taken."""
        self._advance()
        return self._mark

    @property
    def published(self) -> int:
        """When the oldest unsettled records were published, else the last settled ones (milliseconds; 0: not known)."""
        self._advance()
        return self._spans[0].published if self._spans else self._published

    @property
    def reread(self) -> tuple[int, int] | None:
        """Where reading begins again when what was settled since the last commit is in doubt, and what was received.

        None when nothing was received since.
        """
        start = self._first if self._committed is None else self._committed
        if start is None or self._received is None or self._received < start:
            return None
        return start, self._received + 1

    def uncommitted(self) -> int | None:
        """The low-water mark, if it is not committed yet."""
        mark = self.mark()
        return None if mark == self._committed else mark

    def committed(self, offset: int) -> None:
        """The broker has this offset."""
        self._committed = offset

    def skip_to(self, position: int) -> None:
        """Nothing is left before `position`: transaction markers and records that compaction removed."""
        if self.idle and (self._mark is None or position > self._mark):
            self._mark = position

    def _advance(self) -> None:
        spans = self._spans
        while spans and spans[0].settled:
            span = spans.popleft()
            self._mark, self._published = span.offsets[-1] + 1, span.published
        if spans:
            self._mark = spans[0].first_unsettled()
