"""A fixed piece of work: how fast the machine's cores are at this moment.

Whatever else the machine does (a neighbour on the same core, a lower clock) slows this loop about as much as the
program that is measured beside it. Costs are therefore given at the speed that this loop had at its fastest, and two
runs at different times can be compared. The work is of the indexer's kind: parse, look up, format, hash.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Final

SAMPLE: Final = (
    b'{"event_type":"transaction.created","transaction":{"id":"431a3868-5211-446e-acde-13d941275a9d","user_id":"u%d",'
    b'"transaction_type":"p2p","product":"Wallet","status":"pending","currency":"EUR","amount":%d.4,'
    b'"created_at":"2023-11-14T22:13:20.000000Z","metadata":{"direction":"received","peer_id":"peer_39825",'
    b'"peer_name":"Ada Lovelace","note":"line one, line two"}},"timestamp":"2023-11-14T22:13:20.000000Z"}'
)
TURNS: Final = 60
"""Turns of one reading: about a millisecond."""

_VALUES: Final = tuple(SAMPLE % (at, at * 7) for at in range(TURNS))


def turn(value: bytes) -> bytes:
    """One turn: an event of a fixed form in, a document of a fixed form out."""
    event = json.loads(value)
    transaction = event["transaction"]
    fields = {key: part for key, part in transaction.items() if type(part) is str}
    words = dict.fromkeys(" ".join((*fields.values(), *transaction["metadata"].values())).lower().split())
    digest = hashlib.blake2b(value, digest_size=16).hexdigest()
    return b'{"index":{"_id":"%b"}}\n%b,"search_content":"%b"}\n' % (
        digest.encode(),
        value[:-1],
        " ".join(words).encode(),
    )


def work() -> None:
    """All turns of one reading."""
    for value in _VALUES:
        turn(value)


def seconds(timed: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """CPU time of one call in this thread."""
    started = clock()
    timed()
    return clock() - started


def reading() -> float:
    """CPU microseconds of one turn, just now."""
    return seconds(work) / TURNS * 1e6
