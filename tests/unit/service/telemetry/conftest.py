"""What tests of logging change for the whole process is as before when they end."""

import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from activity_indexer.telemetry.logging import PACKAGE, QUIET


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Handlers, levels, the hook of crashes and structlog's configuration."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, (PACKAGE, *QUIET))]
    before = [(logger, logger.level) for logger in loggers]
    handlers, hook = list(root.handlers), sys.excepthook
    yield
    root.handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    sys.excepthook = hook
