"""Keeps the messages of pydicom and highdicom back, which quote names, dates and other values of a header."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LIBRARIES: Final = ("pydicom", "highdicom")


@contextmanager
def silenced() -> Iterator[None]:
    """Drops what the two libraries warn of and log, while the block runs."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
