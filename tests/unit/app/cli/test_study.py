"""`certrad certify --study` counts as certified only what was."""

from typing import Any

import pytest

from certrad.app.cli.client import Client
from certrad.app.cli.study import SECRET, certify_study


class FakeClient(Client):
    """Answers with one outcome."""

    def __init__(self, instances: list[dict[str, Any]]) -> None:
        self.outcome = {
            "status": "done",
            "series": [{"state": "done", "rule": "r", "reason": None, "instances": instances}],
        }

    def send(self, method: str, path: str, **options: Any) -> Any:
        return self.outcome if method == "GET" else {"links": {"self": "/triggers/x"}}


def instance(state: str, reason: str | None = None) -> dict[str, Any]:
    """One instance without a job."""
    return {"state": state, "job": None, "rule": "r", "reason": reason, "deliveries": []}


def test_study_counts_as_certified_only_what_was(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SECRET, "x" * 16)
    instances = [instance("ended"), instance("failed", "hospital_extra_missing")]
    assert certify_study(FakeClient(instances), "1.2", None, as_json=False) == 1
    said = capfd.readouterr().out
    assert "1 certified, 1 failed" in said
    assert "failed: hospital_extra_missing" in said
