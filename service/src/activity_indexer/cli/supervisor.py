"""Several indexers on one machine: a parent that starts them, passes signals on, and replaces one that dies.

Each process is a whole indexer: a member of its groups, with a port, a memory budget and connections of its own. They
are forked, so that they share the memory of the code.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, Final

import click
import structlog

from activity_indexer.errors import ActivityIndexerError, Unavailable
from activity_indexer.settings import Settings
from activity_indexer.telemetry.logging import configure_logging

Run = Callable[[Settings], None]

REPLACEMENTS: Final = 5
"""Dead processes that are replaced within `REPLACEMENTS_WITHIN`; with one more the program ends."""
REPLACEMENTS_WITHIN: Final = 60.0
REPLACEMENT_DELAY: Final = 1.0
"""Seconds from a death to the replacement."""

KILL_AFTER: Final = 10.0
"""Seconds beyond CONSUMER_SHUTDOWN_TIMEOUT after which a process that has not ended is killed."""

POLL_INTERVAL: Final = 0.5
FAILED: Final = 1
REFUSED: Final = 78
"""Exit code of a process that reports what its replacement would meet, too (EX_CONFIG)."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
ENDED_BY_US: Final = (0, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a process that was asked to end; by the signal itself when it had not begun yet."""


class Supervisor:
    """Runs `processes` indexers until a signal ends them, or until they cannot go on."""

    def __init__(self, settings: Settings, processes: int, run: Run) -> None:
        self._settings = [settings.of_process(number) for number in range(1, processes + 1)]
        self._run = run
        self._kill_after = settings.consumer.shutdown_timeout + KILL_AFTER
        self._running: dict[int, Any] = {}
        self._waiting: dict[int, float] = {}
        self._deaths: deque[float] = deque(maxlen=REPLACEMENTS + 1)
        self._stopping: float | None = None
        self._failed = False
        self._forks = multiprocessing.get_context("fork")
        self._parent_lives, self._parent_ends = os.pipe()
        self._log = structlog.get_logger("activity_indexer.processes")

    def run(self) -> bool:
        """Whether all processes ended as they were asked to."""
        for name in SIGNALS:
            signal.signal(name, lambda *_: self._stop())
        gc.collect()
        gc.freeze()  # what is never looked at again stays shared
        self._waiting = dict.fromkeys(range(1, len(self._settings) + 1), 0.0)
        try:
            while self._running or (self._waiting and self._stopping is None):
                self._turn()
        except BaseException:
            self._stop()  # the interpreter waits for its children, whatever it ends for
            raise
        return not self._failed

    def _turn(self) -> None:
        self._start_due()
        connection.wait([process.sentinel for process in self._running.values()], POLL_INTERVAL)
        for number, process in list(self._running.items()):
            if process.exitcode is not None:
                del self._running[number]
                self._note_end(number, process.pid, process.exitcode)
        if self._stopping is not None and time.monotonic() > self._stopping + self._kill_after:
            self._kill()

    def _start_due(self) -> None:
        for number, due in sorted(self._waiting.items()):
            if self._stopping is None and due <= time.monotonic():
                self._start(number)

    def _start(self, number: int) -> None:
        settings = self._settings[number - 1]
        # A signal that comes in between waits: it must reach either the parent or the child that it has registered.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            if self._stopping is not None:  # one came just before
                return
            process = self._forks.Process(
                target=_work, args=(number, settings, self._run, self._parent_lives, self._parent_ends)
            )
            process.start()
            self._running[number] = process
            self._waiting.pop(number)
        except OSError as error:  # no memory, or too many processes: perhaps not for long
            self._waiting[number] = time.monotonic() + REPLACEMENT_DELAY
            self._log.error("process.not_started", process=number, reason=str(error))
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._log.info("process.started", process=number, pid=process.pid, port=settings.consumer.http_port)

    def _stop(self) -> None:
        """Have all processes finish what they have, and end."""
        if self._stopping is None:
            self._stopping = time.monotonic()
            for process in self._running.values():
                process.terminate()

    def _kill(self) -> None:
        for number, process in self._running.items():
            self._log.error("process.killed", process=number, pid=process.pid, reason="it did not end in time")
            process.kill()
        self._failed, self._kill_after = True, float("inf")

    def _note_end(self, number: int, pid: int, code: int) -> None:
        how = {"signal": _name_of(-code)} if code < 0 else {"code": code}
        if self._stopping is not None:
            self._failed |= code not in ENDED_BY_US
            self._log.info("process.stopped", process=number, pid=pid, **how)
            return
        now = time.monotonic()
        self._deaths.append(now)
        often = len(self._deaths) > REPLACEMENTS and now - self._deaths[0] < REPLACEMENTS_WITHIN
        if code == REFUSED or often:
            reason = "it cannot work as it is set up" if code == REFUSED else "processes die too often"
            self._log.error("process.died", process=number, pid=pid, replaced=False, reason=reason, **how)
            self._failed = True
            self._stop()
            return
        self._log.error("process.died", process=number, pid=pid, replaced=True, **how)
        self._waiting[number] = now + REPLACEMENT_DELAY


def _name_of(number: int) -> str:
    return next((each.name for each in signal.Signals if each == number), str(number))


def _work(number: int, settings: Settings, run: Run, parent_lives: int, parent_ends: int) -> None:
    """One process: an indexer that ends with a signal of its own, or when the parent is gone."""
    for name in SIGNALS:
        signal.signal(name, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.close(parent_ends)
    threading.Thread(target=_end_with_parent, args=(parent_lives,), daemon=True).start()
    configure_logging(settings.consumer.log_level, settings.consumer.log_format, process=number)
    try:
        run(settings)
    except ActivityIndexerError as error:
        click.echo(f"process {number}: {error}", err=True)
        sys.exit(FAILED if isinstance(error, Unavailable) else REFUSED)
    except Exception:  # noqa: BLE001 - the hook logs it as that of a single process does
        sys.excepthook(*sys.exc_info())
        sys.exit(FAILED)


def _end_with_parent(parent_lives: int) -> None:
    """Wait for the end of the pipe, which nothing is ever written to: the parent is gone."""
    os.read(parent_lives, 1)
    os.kill(os.getpid(), signal.SIGTERM)
