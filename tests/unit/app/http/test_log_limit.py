"""A line that repeats itself is written once in each period."""

import logging

import pytest

from certrad.app.http.log_limit import OncePerPeriod


def test_a_repeated_line_is_written_once_a_period_with_the_number_of_the_others() -> None:
    now = 0.0
    log = logging.getLogger("certrad.tests.once_per_period")
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log.addFilter(OncePerPeriod(60.0, clock=lambda: now))
    log.addHandler(Kept())
    log.propagate = False
    for number in range(1_000):
        log.warning("more than %d", number)
    log.warning("another line")
    now = 61.0
    log.warning("more than %d", 7)
    assert lines == ["more than 0", "another line", "more than 7 (999 more times since the line before)"]


@pytest.mark.parametrize("of_connection", ["fd=6", "fd=7"])
def test_lines_that_name_a_connection_after_the_first_are_the_same(of_connection: str) -> None:
    once = OncePerPeriod(60.0, clock=lambda: 0.0)

    def record(rest: str) -> logging.LogRecord:
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, f"no more files\n{rest}", None, None)

    assert once.filter(record("fd=5"))
    assert not once.filter(record(of_connection))
