"""A line of a log says what happened and in which code; it holds no message of a library, and never stops a process."""

import io
import json
import logging
import subprocess
import sys
from errno import ENOSPC
from typing import Any, Final

import httpx
import pytest
import structlog

from certrad.models.errors import Rejected
from certrad.workers.contract import logs
from tests.support.processes import ROOT

SECRET: Final = "DOE^JANE"


@pytest.fixture
def stream() -> io.StringIO:
    """What this process logs while the test runs."""
    stream = io.StringIO()
    logs.configure("engine", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_names_its_process_level_and_time(stream: io.StringIO) -> None:
    structlog.get_logger().info("ready", backbone="demo")
    logging.getLogger("rq.scheduler").warning("gone")
    ours, foreign = lines(stream)
    assert (ours["event"], ours["level"], ours["process"], ours["backbone"]) == ("ready", "info", "engine", "demo")
    assert (foreign["event"], foreign["level"], foreign["process"]) == ("gone", "warning", "engine")
    assert all(line["timestamp"].endswith("Z") for line in (ours, foreign))


@pytest.mark.parametrize("logger", [structlog.get_logger(), logging.getLogger("library")], ids=["ours", "library"])
def test_an_exception_is_its_type_and_the_code_that_it_passed(logger: Any, stream: io.StringIO) -> None:
    try:
        int(SECRET)
    except ValueError:
        logger.exception("broken")
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert [each.rpartition(" ")[2] for each in line["trace"]] == [
        test_an_exception_is_its_type_and_the_code_that_it_passed.__name__
    ]
    assert SECRET not in stream.getvalue()


def test_a_refusal_of_ours_has_its_sentence(stream: io.StringIO) -> None:
    structlog.get_logger().warning("refused", exc_info=Rejected("engine_mismatch", "another device"))
    (line,) = lines(stream)
    assert "another device" in line["problem"]


def test_addresses_that_a_client_calls_are_in_no_line(stream: io.StringIO) -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        client.get(f"http://pacs.example/studies/{SECRET}")
    assert stream.getvalue() == ""


def test_facts_are_in_the_lines_within_and_in_no_line_after(stream: io.StringIO) -> None:
    with logs.bound(job_id="job", tenant=None):
        logging.getLogger("library").warning("within")
    structlog.get_logger().info("after")
    within, after = lines(stream)
    assert within["job_id"] == "job"
    assert "tenant" not in within
    assert "job_id" not in after


@pytest.mark.parametrize(("error", "is_reported"), [(OSError(ENOSPC, "full"), False), (ValueError("closed"), True)])
def test_a_full_disk_loses_a_line_in_silence_and_any_other_error_is_reported(
    error: Exception, is_reported: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(io.StringIO):
        def write(self, _: str, /) -> int:
            raise error

    logs.configure("engine", Broken())
    structlog.get_logger().info("lost")
    assert ("Logging error" in capsys.readouterr().err) == is_reported


def test_the_error_that_ends_a_process_is_a_line_of_its_log() -> None:
    program = f"from certrad.workers.contract import logs; logs.configure('engine'); int('{SECRET}')"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    (line,) = [json.loads(each) for each in ended.stderr.splitlines()]
    assert (line["event"], line["level"], line["error"]) == ("uncaught exception", "critical", "ValueError")
    assert SECRET not in ended.stderr
