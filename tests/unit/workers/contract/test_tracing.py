"""Traces that nobody wants cost no import, and those that are wanted need their packages."""

import json
import subprocess
import sys

import pytest

from certrad.workers.contract import tracing
from tests.support.processes import ROOT

STAGE = """
import json, sys
from certrad.workers.contract import tracing
tracing.configure("test", enabled=False, in_background=False)
with tracing.stage("certify", traceparent=None, job_id="job"):
    tracing.enter_phase("estimating")
    tracing.committed(0, 64)
print(json.dumps([tracing.current_traceparent(), [name for name in sys.modules if name.startswith("opentelemetry")]]))
"""


def test_without_the_setting_a_stage_imports_nothing_of_opentelemetry() -> None:
    done = subprocess.run([sys.executable, "-c", STAGE], cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout) == [None, []]


def test_traces_without_their_packages_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "certrad.workers.contract.trace_export", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(tracing.TelemetryMissingError, match="extra `telemetry`"):
        tracing.configure("test", enabled=True, in_background=False)
    assert tracing.current_traceparent() is None
