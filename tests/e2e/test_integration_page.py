"""The steps of docs/integration.md, as they are written, lead to a report and a page in the study in Orthanc."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydicom import dcmread

from tests.support.checkout import installation
from tests.support.documentation import DOCS, NOT_RUN, steps
from tests.support.orthanc import free_port
from tests.support.processes import wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

PAGE: Final = DOCS / "integration.md"
STEPS: Final = steps(PAGE)
SECONDS: Final = 300.0
UP: Final = "certrad up"
STRUCTURED_REPORT: Final = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
COMPUTED_RADIOGRAPHY: Final = "1.2.840.10008.5.1.4.1.1.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A reader who has gone through the steps, with Orthanc and the service still running.

    seconds: from the first command that ran to the end of the last one.
    """

    folder: Path
    orthanc: str
    output: str
    seconds: float

    def study(self) -> str:
        """The study that the steps name."""
        study: str
        (study,) = re.findall(r"^STUDY=([\d.]+)$", "".join(STEPS[-1]), re.MULTILINE)
        return study

    def instances(self) -> list[dict[str, Any]]:
        """The instances of the study as QIDO lists them."""
        answer = httpx.get(f"{self.orthanc}/dicom-web/studies/{self.study()}/instances", timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    folder = Path(tempfile.mkdtemp(prefix="cr-"))  # short: the address of a Unix socket has 107 bytes
    installation(folder)
    http, dicom, api = (str(free_port()) for _ in range(3))
    script = _script(lambda text: _moved(text, http=http, dicom=dicom, api=api))
    start = time.monotonic()
    with (folder / "steps.out").open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env={
                **_without_settings(),
                "CERTRAD_URL": f"http://127.0.0.1:{api}",
                "CERTRAD_TRIGGER_URL": f"http://127.0.0.1:{api}/triggers/orthanc",
                "no_proxy": "127.0.0.1",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output() -> str:
        return (folder / "steps.out").read_text(errors="replace")

    def finished() -> bool:
        assert shell.poll() is None, output()[-4000:]
        return (folder / "finished").exists()

    try:
        wait_for(finished, timeout=SECONDS, what="the end of the steps")
        yield Reader(
            folder=folder,
            orthanc=f"http://127.0.0.1:{http}",
            output=output(),
            seconds=time.monotonic() - start,
        )
    finally:
        _stop(shell)
        shutil.rmtree(folder, ignore_errors=True)


def _script(moved: Callable[[str], str]) -> str:
    """The blocks of the steps up to the first command that fails; then the shell waits with its background jobs."""
    run = [moved(block) for step in STEPS for block in step if not NOT_RUN.match(block)]
    return "\n".join(["set -euo pipefail", *run, ": > finished", "wait"])


def _moved(text: str, *, http: str, dicom: str, api: str) -> str:
    """A block with ports that are free in place of those that are written."""
    for written, used in (("8042", http), ("4242", dicom), ("127.0.0.1:8000", f"127.0.0.1:{api}")):
        text = text.replace(written, used)
    return text.replace(UP, f"{UP} --port {api}")


def _without_settings() -> dict[str, str]:
    """The environment without settings of certrad: a reader begins with none."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CERTRAD_")}


def _stop(shell: subprocess.Popen[bytes]) -> None:
    """Ends the shell and the programs that it left in the background."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGTERM)
    shell.wait(timeout=60)
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)


def test_page_says_how_many_steps_there_are(record_testsuite_property: Callable[[str, object], None]) -> None:
    print(f"{len(STEPS)} steps from an empty directory to the first report in Orthanc")  # noqa: T201  # must hold
    record_testsuite_property("integration_steps", len(STEPS))
    said = re.findall(r"^These are (\d+) steps\.", PAGE.read_text("utf-8"), re.MULTILINE)
    assert said == [str(len(STEPS))]
    assert all(STEPS)  # none without a command


def test_report_and_page_lie_in_the_study_beside_the_image(
    reader: Reader, record_testsuite_property: Callable[[str, object], None]
) -> None:
    record_testsuite_property("integration_seconds", round(reader.seconds))
    classes = sorted(item["00080016"]["Value"][0] for item in reader.instances())
    assert classes == sorted([COMPUTED_RADIOGRAPHY, SECONDARY_CAPTURE, STRUCTURED_REPORT])


def test_script_of_orthanc_triggered_before_anybody_asked(reader: Reader) -> None:
    with closing(sqlite3.connect(reader.folder / "certrad-data" / "pacs" / "connector.sqlite3")) as database:
        pulls = database.execute(
            "SELECT trigger_id FROM pulls WHERE study = ? AND NOT told", [reader.study()]
        ).fetchall()
    assert any(not trigger.startswith("change-") for (trigger,) in pulls)


def test_files_that_the_reader_fetches_are_the_report_and_the_page(reader: Reader) -> None:
    fetched = {name: dcmread(reader.folder / f"{name}.dcm").SOPClassUID for name in ("SR", "OT")}
    assert fetched == {"SR": STRUCTURED_REPORT, "OT": SECONDARY_CAPTURE}
    assert (reader.folder / "page.png").read_bytes().startswith(b"\x89PNG")


def test_reader_sees_the_rule_the_connection_and_the_result(reader: Reader) -> None:
    for words in ("chest radiographs", "1 certified", "sr to pacs: delivered", "Comprehensive 3D SR"):
        assert words in reader.output
