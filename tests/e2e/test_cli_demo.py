"""The demonstration takes one command, certifies real images, and leaves nothing running."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from certrad.app.cli import demo
from certrad.app.cli.console import CAVEAT
from tests.support.processes import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def certrad(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with its temporary files in one directory, which must be empty afterwards."""
    return subprocess.run(
        [sys.executable, "-m", "certrad.app.cli.main", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def processes_of(directory: Path) -> list[str]:
    """Command lines of running processes that name the directory, as each stack does its own."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(directory) in line]


@pytest.fixture
def short_tmp(tmp_path: Path) -> Path:
    path = tmp_path / "t"
    path.mkdir()
    return path


def test_demo_certifies_real_images_and_leaves_nothing(short_tmp: Path) -> None:
    done = certrad(short_tmp, "demo", "--json", "--n", "100")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert [row["image"] for row in report["results"]] == [specimen.title for specimen in demo.SPECIMENS]
    for row, specimen in zip(report["results"], demo.SPECIMENS, strict=True):
        result = row["result"]
        assert row["status"] == "succeeded"
        assert (result["sigma"], result["n"]) == (specimen.sigma, 100)
        assert (
            (result["radius"] is not None) == (result["outcome"] == "certified") == (row["rms_grey_levels"] is not None)
        )
        assert result["scope_text"]
    found = [row["result"].get("label") for row in report["results"][:2]]
    assert found == ["chest X-ray", "head CT"]
    assert any("n = 100 is reduced" in words for words in report["notes"])
    assert "a certificate says nothing about whether the class is right" in report["notes"]
    assert not list(short_tmp.iterdir())
    assert processes_of(short_tmp) == []


def test_demo_prints_a_table_that_can_be_read_without_its_source(short_tmp: Path) -> None:
    done = certrad(short_tmp, "demo", "--n", "100")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == [specimen.title for specimen in demo.SPECIMENS]
    for row in rows:
        assert re.search(r"ABSTAINED \(\w+\)|\d\.\d{4}", row)
    for scope in {re.search(r"input_independent|frozen_prompt", row)[0] for row in rows}:  # type: ignore[index]
        assert re.search(rf"^scope {scope}: \w+ \w+", done.stdout, re.MULTILINE)
    for words in ("demonstration model", "n = 100 is reduced", CAVEAT):
        assert words in done.stdout
    up, curl = (shlex.split(line) for line in done.stdout.splitlines()[-2:])
    assert (ROOT / up[0]).samefile(Path(sys.executable).with_name("certrad"))
    assert (curl[0], curl[-1]) == ("curl", "http://127.0.0.1:8000/certify")
    assert not list(short_tmp.iterdir())


def test_local_certification_starts_and_stops_its_own_service(short_tmp: Path) -> None:
    image = demo.image_path("RG1_UNCI.dcm")
    done = certrad(short_tmp, "certify", str(image), "--local", "--n", "100", "--adaptation", "none", "--json")
    job = json.loads(done.stdout)
    assert job["status"] == "succeeded"
    assert done.returncode == (0 if job["result"]["outcome"] == "certified" else 3)
    assert job["result"]["scope"] == "input_independent"
    assert not list(short_tmp.iterdir())
