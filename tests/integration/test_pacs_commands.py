"""The commands of the connector test rules, list deliveries, and check a PACS and say exactly what is wrong."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from certrad.workers.pacs.database import Database
from tests.support.images import dicom
from tests.support.processes import ROOT


def certrad(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Runs a command; `settings` by name."""
    return subprocess.run(
        [sys.executable, "-m", "certrad.app.cli.main", *arguments],
        cwd=ROOT,
        env={**os.environ, **{f"CERTRAD_{name.upper()}": str(value) for name, value in settings.items()}},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def server(status: int, body: bytes = b"") -> Iterator[str]:
    """A server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (404, "not_found"), (400, "not_acceptable")])
def test_check_names_the_step_the_reason_and_the_remedy(status: int, code: str) -> None:
    with server(status) as url:
        done = certrad("pacs", "check", "--json", pacs_url=f"{url}/dicom-web", url=url)
    assert done.returncode == 1
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    (search,) = [step for step in steps if step["name"].startswith("search")]
    assert search["code"] == code
    assert search["what_to_do"]
    assert not any(step["name"].startswith("store") for step in steps)


def test_check_of_a_pacs_that_does_not_run_says_so_without_a_trace() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = certrad("pacs", "check", pacs_url=f"http://127.0.0.1:{port}/dicom-web", pacs_password="hidden")
    assert done.returncode == 1
    assert "FAILED  search (QIDO-RS): refused" in done.stdout
    assert done.stderr == ""
    assert "hidden" not in done.stdout


def test_check_without_a_pacs_is_bad_usage() -> None:
    done = certrad("pacs", "check")
    assert done.returncode == 2
    assert "CERTRAD_PACS_URL" in done.stderr


def test_rules_are_tested_with_a_file_of_the_pacs(tmp_path: Path) -> None:
    image, rules = tmp_path / "image.dcm", tmp_path / "rules.toml"
    image.write_bytes(dicom(np.zeros((16, 16), np.uint8), Modality="DX", BodyPartExamined="HAND", PatientName="DOE^J"))
    rules.write_text('[[rule]]\nname = "hands"\nmatch = { modality = "DX", body_part = "HAND" }\ntask = "mednist"\n')
    done = certrad("rules", "test", str(image), rules=rules)
    assert done.returncode == 0
    assert (
        "certified by the rule 'hands': task mednist; 1 from the middle of the series; sr and sc stored at 'pacs'"
        in (done.stdout)
    )
    assert "DOE" not in done.stdout


def test_rules_are_tested_with_attributes(tmp_path: Path) -> None:
    series = tmp_path / "series.json"
    series.write_text(json.dumps({"modality": "CT", "series_description": "QA phantom"}))
    done = certrad("rules", "test", str(series), "--json")
    assert json.loads(done.stdout) == {
        "decision": "ignore",
        "rule": "quality control and phantoms",
        "reason": "an image of a phantom or of quality control shows no patient",
    }


def test_file_without_a_header_is_told_by_its_code(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"noise")
    done = certrad("rules", "test", str(path))
    assert done.returncode == 1
    assert "unsupported_format" in done.stderr


@pytest.mark.parametrize("command", [("rules", "test", "pyproject.toml"), ("pacs", "run"), ("up", "--port", "0")])
def test_wrong_rules_end_a_command_with_the_rule_and_the_reason(tmp_path: Path, command: tuple[str, ...]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "hands"\nsigma = 99\n')
    done = certrad(*command, rules=rules, pacs_url="http://127.0.0.1:1/dicom-web", data_dir=tmp_path / "data")
    assert done.returncode == 2
    assert "rule 1 ('hands'): `sigma` must be a number from 0.02 to 2, or `auto`" in done.stderr


def test_deliveries_that_were_put_aside_are_listed_tried_again_and_dropped(tmp_path: Path) -> None:
    database = Database(tmp_path / "pacs")
    database.change(
        "INSERT INTO deliveries (instance, output, sop, study, destination, content, state, attempts, due, created, "
        "changed, reason) VALUES (1, 'sr', '1.2.777', '1.2.888', 'pacs', x'00', 'put_aside', 8, 0, 0, 0, 'not_stored')"
    )
    database.close()
    listed = certrad("deliveries", data_dir=tmp_path)
    assert listed.returncode == 1
    assert "sr  to pacs  put aside, 8 refused" in listed.stdout
    assert "not_stored" in listed.stdout
    assert "777" not in listed.stdout
    assert certrad("deliveries", "retry", data_dir=tmp_path).stdout == "1 delivery\n"
    assert "waiting" in certrad("deliveries", "list", data_dir=tmp_path).stdout
    assert certrad("deliveries", "drop", "1", data_dir=tmp_path).returncode == 0
    assert certrad("deliveries", "list", data_dir=tmp_path).stdout == "nothing waits, and nothing failed\n"
    assert certrad("deliveries", "drop", "1", data_dir=tmp_path).returncode == 2


def test_who_gives_a_result_up_or_tries_it_again_is_in_the_audit_trail(tmp_path: Path) -> None:
    database = Database(tmp_path / "pacs")
    database.change(
        "INSERT INTO deliveries (instance, output, sop, study, destination, content, state, attempts, due, created, "
        "changed) VALUES (1, 'sr', '1.2.777', '1.2.888', 'pacs', x'00', 'put_aside', 8, 0, 0, 0)"
    )
    database.close()
    for arguments in (("retry",), ("drop", "1"), ("drop", "1")):
        certrad("deliveries", *arguments, data_dir=tmp_path)
    lines = "".join(path.read_text() for path in (tmp_path / "audit-trail").glob("*.jsonl"))
    assert lines.count('"delivery_changed"') == 2
    assert '"retry"' in lines
    assert '"drop"' in lines
    assert "777" not in lines


def test_wrong_setting_is_named_without_a_trace_and_without_its_value() -> None:
    done = certrad("pacs", "check", pacs_timeout="secret", pacs_url="http://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("certrad: CERTRAD_PACS_TIMEOUT: ")
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_what_failed_before_there_was_a_result_is_listed_tried_again_and_given_up(tmp_path: Path) -> None:
    database = Database(tmp_path / "pacs")
    database.change(
        "INSERT INTO instances (pull, study, series, sop, settings, rule, fields, outputs, destination, state, job, "
        "due, changed, reason) VALUES (1, '1.2.8', '1.2.7', '1.2.9', 's', 'hands', '{}', '[]', 'pacs', 'failed', 'j', "
        "0, 0, 'hospital_extra_missing')"
    )
    database.change(
        "INSERT INTO pulls (trigger_id, told, study, series, state, due, changed, reason) "
        "VALUES ('t', 0, '1.2.8', '1.2.6', 'failed', 0, 0, 'not_found')"
    )
    listed = certrad("deliveries", data_dir=tmp_path)
    assert listed.returncode == 1
    assert "1  instance  by the rule 'hands'  failed  hospital_extra_missing" in listed.stdout
    assert "1  series  failed  not_found: The server has nothing" in listed.stdout
    assert "1.2." not in listed.stdout
    assert certrad("deliveries", "retry-failed", "2", data_dir=tmp_path).returncode == 2
    assert certrad("deliveries", "retry-failed", data_dir=tmp_path).stdout == "1 instance, 1 series\n"
    assert certrad("deliveries", data_dir=tmp_path).returncode == 0
    for table in ("instances", "pulls"):
        database.change(f"UPDATE {table} SET state = 'failed'")
    database.close()
    assert certrad("deliveries", "drop-failed", data_dir=tmp_path).stdout == "1 instance, 1 series\n"
    assert certrad("deliveries", data_dir=tmp_path).returncode == 0
