"""Traces that nobody wants cost no import, and those that are wanted need their packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from certrad.workers.contract import tracing
from certrad.workers.settings import WorkerSettings
from tests.support.otlp_receiver import otlp_receiver
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


def test_the_credential_of_a_collector_can_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization=Bearer%20s3cret, x-scope=ct\n")
    file.chmod(0o400)
    monkeypatch.setenv("CERTRAD_TELEMETRY_HEADERS_FILE", str(file))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=of-the-environment")
    headers = WorkerSettings().telemetry_headers
    with otlp_receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        try:
            tracing.configure("test", enabled=True, in_background=False, headers=headers)
            with tracing.stage("certify", traceparent=None, job_id="job"):
                tracing.enter_phase("estimating")
        finally:
            tracing.configure("test", enabled=False, in_background=False)
    assert received.headers[0]["authorization"] == "Bearer s3cret"
    assert received.headers[0]["x-scope"] == "ct"


@pytest.mark.parametrize("text", ["s3cret", "=s3cret", "a b=s3cret", "name=", "a=s3cret,", "a=s3cret%0d%0ab: c"])
def test_headers_that_are_none_are_refused_without_being_told(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTRAD_TELEMETRY_HEADERS", text)
    with pytest.raises(ValidationError, match="name=value pairs") as refusal:
        WorkerSettings()
    assert "s3cret" not in str(refusal.value)


def test_traces_without_their_packages_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "certrad.workers.contract.trace_export", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(tracing.TelemetryMissingError, match="extra `telemetry`"):
        tracing.configure("test", enabled=True, in_background=False)
    assert tracing.current_traceparent() is None
