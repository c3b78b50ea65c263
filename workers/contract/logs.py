"""Logs: one JSON object per line, without payloads, messages of exceptions or patient data."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.types import EventDict, Processor, WrappedLogger

from certrad.models.errors import Rejected

_EXTRA: Final = ("error", "trace")
"""The facts that a line of the standard library's logging may bring beside its message."""
_QUIET: Final = (
    "rq.worker",
    "rq.job",
    "rq.registry",
    "rq.queue",
    "httpx",
    "httpx2",
)  # the last two log whole addresses


def configure(process: str, stream: TextIO | None = None) -> None:
    """Sends every log of this process to a stream as JSON lines; called once, at start.

    It logs exceptions as their type and the lines of code they passed, never as their message: libraries quote file
    names and header values in theirs.

    Args:
        process: The name of the process, in every line.
        stream: The stream; None for standard error.
    """

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {**event, "process": process}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
        _without_message,
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = _LossyHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[ExtraAdder(_EXTRA), *shared],
            processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.excepthook = _log_uncaught


@contextmanager
def bound(**facts: str | None) -> Iterator[None]:
    """Adds facts to every line that this thread or task logs within it.

    Args:
        facts: Ids such as `request_id`, `job_id` and `tenant`; one that is None is left out.
    """
    with structlog.contextvars.bound_contextvars(**{name: fact for name, fact in facts.items() if fact is not None}):
        yield


class _LossyHandler(logging.StreamHandler[TextIO]):
    """Drops a line that its stream does not take, as on a full disk: a log must not stop a process."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is logging's
        """Drops the line; an error of another kind is printed as logging prints it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _without_message(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else (given if isinstance(given, tuple) else sys.exc_info())[1]
    if error is None:
        return event
    return {**event, **_told(error)}


def _told(error: BaseException) -> dict[str, object]:
    passed = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    refusal = {"problem": str(error)} if isinstance(error, Rejected) else {}  # ours, and free of patient data
    return {"error": type(error).__name__, **refusal, "trace": passed}


def _log_uncaught(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    structlog.get_logger().critical("uncaught exception", exc_info=error)
