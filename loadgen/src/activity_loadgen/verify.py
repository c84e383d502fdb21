"""Waits until everything acknowledged is searchable, then says what is missing, stale, different or extra."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from aiokafka.errors import KafkaError

from activity_common.setting_names import dead_letter_topic
from activity_loadgen.bodies import transaction_of
from activity_loadgen.compare import Finding, compare_dead_letters, compare_documents
from activity_loadgen.expected import ExpectedState
from activity_loadgen.follow import POLL_SECONDS, Follower, Latency
from activity_loadgen.kafka import KafkaConnection
from activity_loadgen.search import SearchConnection, SearchError, SearchIndex, open_search
from activity_loadgen.topic import DeadLetters, ReadTimeoutError, TopicMismatchError, read_values

MIN_READ_SECONDS: Final = 30.0
MAX_FINDINGS: Final = 1_000


class VerifyError(Exception):
    """The check could not be made; the message says what did not answer."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How long to wait in seconds, where dead letters are, and whether documents are compared field by field."""

    timeout: float = 120.0
    dead_letter_topic: str | None = None
    compare_bodies: bool = True


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far the waiting is; `problem` is why the last question got no answer."""

    searchable: int
    transactions: int
    dead_letters: int
    invalid: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The outcome. `counts` is by (problem, what); `findings` are the first thousand of them."""

    documents: int
    tombstones: int
    dead_letters: int
    bodies_compared: int
    bodies_gone: int
    counts: dict[tuple[str, str], int]
    findings: tuple[Finding, ...]
    latency: Latency | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything is as the ledger says, and could be looked at."""
        return not self.counts and not self.bodies_gone

    def count(self, problem: Literal["missing", "stale", "different", "extra"]) -> int:
        """Findings of one kind."""
        return sum(number for (kind, _), number in self.counts.items() if kind == problem)


OnProgress = Callable[[VerifyProgress], None]


async def verify(
    expected: ExpectedState,
    kafka: KafkaConnection,
    search: SearchConnection,
    options: VerifyOptions,
    *,
    follower: Follower | None = None,
    on_progress: OnProgress = lambda _: None,
) -> VerifyReport:
    """Check the index and the dead letters against what was acknowledged.

    A follower that has watched the publishing brings its times along; without one only the state is checked.

    Raises:
        VerifyError: Kafka or Elasticsearch did not answer, or the ledger names several topics.
        SearchSettingError: the CA file cannot be read.
    """
    async with open_search(search) as index:
        try:
            return await _Verification(expected, kafka, index, options, follower, on_progress).run()
        except (KafkaError, OSError, SearchError, ReadTimeoutError, TopicMismatchError) as error:
            raise VerifyError(str(error) or type(error).__name__) from error


def follower_for(expected: ExpectedState) -> Follower:
    """A follower for a ledger that was written earlier: it measures no times."""
    follower = Follower(timed=False)
    for transaction_id, event in expected.final.items():
        follower.expect(transaction_id, event)
    return follower


class _Verification:
    def __init__(
        self,
        expected: ExpectedState,
        kafka: KafkaConnection,
        index: SearchIndex,
        options: VerifyOptions,
        follower: Follower | None,
        on_progress: OnProgress,
    ) -> None:
        self._expected = expected
        self._kafka = kafka
        self._index = index
        self._options = options
        self._follower = follower or follower_for(expected)
        self._on_progress = on_progress
        self._started = time.monotonic()

    async def run(self) -> VerifyReport:
        if not self._expected.topics:
            return self._report({}, [])
        topic = _only(self._expected.topics)
        dead_topic = self._options.dead_letter_topic or dead_letter_topic(topic)
        async with DeadLetters(self._kafka, dead_topic, self._expected.first_ack_us or 0) as dead_letters:
            await self._wait(dead_letters)
            sent = await self._sent(topic)
            while True:
                findings = await self._findings(sent, dead_letters)
                if self._final(findings):
                    return self._report(sent, findings)
                await asyncio.sleep(POLL_SECONDS)

    async def _wait(self, dead_letters: DeadLetters) -> None:
        """Until all is there or the time is over; a search that fails meanwhile is asked again."""
        while True:
            await self._follower.poll(self._index)
            await dead_letters.update(self._expected)
            there = sum(1 for position in self._expected.invalid if position in dead_letters.found)
            total, lacking = self._follower.total, self._follower.waiting
            invalid = len(self._expected.invalid)
            self._on_progress(VerifyProgress(total - lacking, total, there, invalid, self._follower.error))
            if self._left() <= 0 or (not lacking and there == invalid):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _sent(self, topic: str) -> dict[str, bytes]:
        """Transactions as they were sent, by id; those whose events Kafka no longer keeps are left out."""
        if not self._options.compare_bodies:
            return {}
        live = self._expected.live()
        wanted = {event.position: event.sha256 for event in live.values()}
        values = await read_values(self._kafka, topic, wanted, max(MIN_READ_SECONDS, self._left()))
        return {key: transaction_of(values[event.position]) for key, event in live.items() if event.position in values}

    async def _findings(self, sent: dict[str, bytes], dead_letters: DeadLetters) -> list[Finding]:
        await dead_letters.update(self._expected)
        documents = await compare_documents(self._expected, self._index, sent)
        return [*documents, *compare_dead_letters(self._expected, dead_letters.found)]

    def _final(self, findings: list[Finding]) -> bool:
        """Whether waiting longer cannot help: only what is missing or stale comes right by itself."""
        return self._left() <= 0 or not any(finding.problem in {"missing", "stale"} for finding in findings)

    def _left(self) -> float:
        return self._started + self._options.timeout - time.monotonic()

    def _report(self, sent: dict[str, bytes], findings: list[Finding]) -> VerifyReport:
        live = len(self._expected.live())
        return VerifyReport(
            documents=live,
            tombstones=len(self._expected.final) - live,
            dead_letters=len(self._expected.invalid),
            bodies_compared=len(sent),
            bodies_gone=live - len(sent) if self._options.compare_bodies else 0,
            counts=dict(Counter((finding.problem, finding.what) for finding in findings)),
            findings=tuple(findings[:MAX_FINDINGS]),
            latency=self._follower.latency(),
            seconds=time.monotonic() - self._started,
        )


def _only(topics: set[str]) -> str:
    if len(topics) > 1:
        raise VerifyError(f"expected a ledger of one topic, got {', '.join(sorted(topics))}: verify each on its own")
    return next(iter(topics))
