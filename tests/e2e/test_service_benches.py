"""Each benchmark of a running service runs in its smallest form."""

import json
import subprocess
import sys
from typing import Any

import pytest

from certrad.bench.common.machine import this_machine
from certrad.bench.measure.service_overhead import Parts, ServiceOverhead, as_text
from tests.support.processes import ROOT

pytestmark = pytest.mark.system


def measured(*words: str) -> dict[str, Any]:
    """Returns the figures that a benchmark prints."""
    command = [sys.executable, "-m", "certrad.bench", *words, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return figures


def test_load_gets_an_answer_to_everything_that_it_sends() -> None:
    figures = measured("load", "--seconds", "1", "--uploads", "6", "--requests", "40", "--streams", "5")
    assert figures["uploads"] == {"202": 6}
    assert (figures["streams"], figures["requests"]) == (5, 40)
    assert figures["polls_per_second"] > 1
    assert 0 < figures["poll_ms"][0] <= figures["poll_ms"][1] <= figures["poll_ms"][2]


def test_memory_of_every_process_is_told_and_none_is_unknown() -> None:
    figures = measured("process-memory", "--certificates", "1")
    of_engine = figures["by_role"]["engine, the process with the model"]
    assert of_engine == max(figures["by_role"].values()) > 100
    assert {"API", "intake worker", "archive worker", "Redis or Valkey"} < set(figures["by_role"])
    assert "other" not in figures["by_role"]


def test_parts_of_the_overhead_add_up_to_it() -> None:
    figures = measured("service-overhead", "--rounds", "3")
    assert len(figures["rounds"]) == 3
    for each in figures["rounds"]:
        hops = sum(each[part] for part in ("accept", "to_intake", "decode", "to_engine", "finish"))
        assert each["overhead"] == pytest.approx(hops)
        assert each["engine"] > 0
    assert len(figures["estimates"]) == 3


def test_a_wait_that_no_job_was_given_is_printed_as_unknown() -> None:
    parts = Parts(accept=1.0, to_intake=1.0, decode=1.0, to_engine=1.0, engine=1.0, finish=1.0, overhead=5.0)
    figures = ServiceOverhead(
        median=parts,
        least_overhead=5.0,
        rounds=(parts,),
        gaps=(1.0,),
        estimates=((None, 0.5), (2.0, 1.5)),
        machine=this_machine(),
    )
    assert "in seconds: ?/0.5, 2/1.5\n" in as_text(figures)
