"""The mercure module and the XNAT command keep their documented contracts, against a real service without Docker."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
from pydicom.dataset import Dataset

from certrad.app.cli.private_service import private_stack
from certrad.models.errors import PROBLEMS
from tests.support.images import sample
from tests.support.processes import ROOT

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ENTRY: Final = ROOT / "docker" / "mercure" / "entrypoint.py"
COMMAND: Final[dict[str, Any]] = json.loads((ROOT / "docker" / "xnat" / "command.json").read_text("utf-8"))
WRAPPER: Final[dict[str, Any]] = COMMAND["xnat"][0]
SERIES: Final = "1.2.840.99.7"
CERTAIN: Final = {"n": 200, "n0": 50, "alpha": 0.05}
NEVER: Final = {"n": 100, "n0": 50, "sigma": 0.25, "target_radius": 0.9}
"""Settings under which even 100 equal samples prove no such radius."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with private_stack(tmp_path_factory.mktemp("d")) as address:
        yield address


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# -- mercure -----------------------------------------------------------------------------------------------------------


class Task:
    """A task of mercure: its folders, and the files that mercure puts into the first of them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.source, self.target = folder / "in", folder / "out"
        self.source.mkdir()
        self.target.mkdir()
        self.url = url

    def add(self, data: bytes, number: int, series: str = SERIES) -> str:
        name = f"{series}#1.2.3.{number}"
        (self.source / f"{name}.dcm").write_bytes(data)
        (self.source / f"{name}.tags").write_text(json.dumps({"InstanceNumber": str(number)}))
        return f"{name}.dcm"

    def process(self, settings: object, *, as_list: bool = False) -> subprocess.CompletedProcess[str]:
        step = {"module_name": "certrad", "settings": settings}
        task = {"id": "1", "info": {}, "process": [step] if as_list else step}
        (self.source / "task.json").write_text(json.dumps(task))
        return run(
            [sys.executable, str(ENTRY)],
            MERCURE_IN_DIR=str(self.source),
            MERCURE_OUT_DIR=str(self.target),
            CERTRAD_URL=self.url,
        )

    def result(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.target / "result.json").read_text())
        return content

    def delivered(self) -> dict[str, Dataset]:
        return {path.name: pydicom.dcmread(path) for path in self.target.glob("*.dcm")}


@pytest.fixture
def task(tmp_path: Path, url: str) -> Task:
    return Task(tmp_path, url)


def test_module_writes_reports_under_the_names_of_mercure(task: Task) -> None:
    image = task.add(sample("CT_small.dcm"), 1)
    done = task.process({"task": "mednist", "sigma": 0.1, **CERTAIN})
    assert done.returncode == 0, done.stderr
    delivered = task.delivered()
    assert sorted(report.Modality for report in delivered.values()) == ["OT", "SR"]
    for name, report in delivered.items():
        assert name == f"{report.SeriesInstanceUID}#{report.SOPInstanceUID}.dcm"
    (said,) = task.result()["images"]
    assert (said["file"], said["outcome"]) == (image, "certified")
    assert said["radius"] > 0


def test_module_prints_no_name_of_a_file(task: Task) -> None:
    task.add(sample("CT_small.dcm"), 1)
    task.add(sample("CT_small.dcm")[:3000], 2)
    done = task.process({"instances": "all", **CERTAIN})
    assert task.result()["failed"] == 1
    assert SERIES not in done.stdout + done.stderr


def test_an_abstention_is_no_failure_of_the_module(task: Task) -> None:
    task.add(sample("CT_small.dcm"), 1)
    done = task.process({"write": "sc", **NEVER}, as_list=True)
    assert (done.returncode, task.result()["abstained"]) == (0, 1)
    assert [report.Modality for report in task.delivered().values()] == ["OT"]


def test_an_image_that_is_refused_fails_the_module_with_its_code(task: Task) -> None:
    task.add(sample("CT_small.dcm")[:3000], 1)
    done = task.process(CERTAIN)
    (said,) = task.result()["images"]
    assert (done.returncode, said["error"] in PROBLEMS, task.delivered()) == (1, True, {})


@pytest.mark.parametrize(("instances", "chosen"), [("middle", [3]), ("first", [1]), ("all", [1, 2, 3, 10])])
def test_module_chooses_instances_by_their_number(instances: str, chosen: list[int], task: Task) -> None:
    names = {number: task.add(sample("CT_small.dcm"), number) for number in (10, 2, 1, 3)}
    task.process({"instances": instances, "write": "sr", **CERTAIN})
    assert [said["file"] for said in task.result()["images"]] == [names[number] for number in chosen]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sigmma": 1}, "unknown settings: sigmma"),
        ({"write": "fhir"}, "`write` must be"),
        ({"write": 5}, "`write` must be"),
        ({"write": [["sr"]]}, "`write` must be"),
        ({"write": {"sr": 1}}, "`write` must be"),
        ({"instances": ["all"]}, "`instances` must be"),
        ({"task": "a\0b"}, "`task` must be a text"),
        ({"task": "a" * 200_000}, "`task` must be a text"),
        ({"url": {"host": "a"}}, "`url` must be a text"),
        ({"n": "many"}, "no_result"),
        ({"instances": "last"}, "`instances` must be"),
        ([1], "must be a JSON object"),
    ],
)
def test_wrong_settings_are_named_before_anything_runs(settings: object, problem: str, task: Task) -> None:
    task.add(sample("CT_small.dcm"), 1)
    done = task.process(settings)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert problem in json.dumps(task.result())


def test_a_task_without_an_image_fails(task: Task) -> None:
    done = task.process({})
    assert (done.returncode, task.result()["images"]) == (1, [{"error": "no_image"}])


# -- XNAT --------------------------------------------------------------------------------------------------------------


def resolved(text: str, values: dict[str, str]) -> str:
    """A template of a command with the values of its inputs, as the container service resolves it."""
    for given in COMMAND["inputs"]:
        value = values.get(given["name"], given["default-value"])
        if given["type"] == "boolean":
            value = given["true-value"] if value == "true" else given["false-value"]
        if (flag := given.get("command-line-flag")) and value:
            value = f"{flag}{given['command-line-separator']}{value}"
        text = text.replace(given["replacement-key"], value)
    return text


def launch(folder: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line by a shell, with folders in place of mounts."""
    program = folder / "bin" / "certrad"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m certrad.app.cli.main "$@"\n')
    program.chmod(0o755)
    line = resolved(COMMAND["command-line"], values)
    for mount in COMMAND["mounts"]:
        line = line.replace(f" {mount['path']} ", f" {shlex.quote(str(folder / mount['name']))} ")
    environment = {name: resolved(value, values) for name, value in COMMAND["environment-variables"].items()}
    return run(["/bin/sh", "-c", line], PATH=f"{program.parent}:{os.environ['PATH']}", **environment)


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """The folders of the mounts, with one image in that of the input."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.dcm").write_bytes(sample("CT_small.dcm"))
    (tmp_path / "out").mkdir()
    return tmp_path


def test_command_writes_what_its_outputs_match(mounts: Path, url: str) -> None:
    done = launch(mounts, private_service="false", url=url, task="mednist", n="200", sigma="0.1")
    assert done.returncode == 0, done.stderr
    matched = {
        output["name"]: sorted(path.name for path in (mounts / output["mount"]).glob(output["glob"]))
        for output in COMMAND["outputs"]
    }
    assert matched == {
        "reports": ["1.dcm.sc.dcm", "1.dcm.sr.dcm"],
        "documents": ["1.dcm.certificate.json", "1.dcm.fhir.json"],
    }
    assert sorted(path.name for path in (mounts / "in").iterdir()) == ["1.dcm"]


def test_an_abstention_is_no_failure_of_the_command(mounts: Path, url: str) -> None:
    done = launch(mounts, private_service="false", url=url, n="100", target_radius="0.9", write="json")
    (document,) = (mounts / "out").iterdir()
    assert done.returncode == 0
    assert json.loads(document.read_text())["claims"][0]["kind"] == "abstention/1"


def test_a_refused_image_fails_the_command(mounts: Path, url: str) -> None:
    (mounts / "in" / "1.dcm").write_bytes(sample("CT_small.dcm")[:3000])
    assert launch(mounts, private_service="false", url=url).returncode == 1


def test_every_name_in_the_command_is_declared() -> None:
    mounts = {mount["name"] for mount in COMMAND["mounts"]}
    outputs = {output["name"] for output in COMMAND["outputs"]}
    wrapped = {given["name"] for given in (*WRAPPER["external-inputs"], *WRAPPER["derived-inputs"])}
    assert {output["mount"] for output in COMMAND["outputs"]} <= mounts
    assert {given.get("provides-files-for-command-mount", "in") for given in WRAPPER["derived-inputs"]} <= mounts
    assert {given["derived-from-wrapper-input"] for given in WRAPPER["derived-inputs"]} <= wrapped
    assert {handler["accepts-command-output"] for handler in WRAPPER["output-handlers"]} == outputs
    assert {handler["as-a-child-of"] for handler in WRAPPER["output-handlers"]} <= wrapped
    assert {mount["name"] for mount in COMMAND["mounts"] if mount["writable"]} == {"out"}


def test_command_has_the_types_of_the_schema() -> None:
    assert (COMMAND["schema-version"], COMMAND["type"]) == ("1.0", "docker")
    assert {given["type"] for given in COMMAND["inputs"]} <= {"string", "boolean", "number"}
    assert {given["type"] for given in WRAPPER["external-inputs"]} <= {"Project", "Subject", "Session", "Scan"}
    assert {handler["type"] for handler in WRAPPER["output-handlers"]} == {"Resource"}
    assert "#" not in resolved(COMMAND["command-line"], {})
    assert all(mount["path"].startswith("/") for mount in COMMAND["mounts"])
