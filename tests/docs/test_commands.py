"""Every command of the documentation runs against a real service, or says visibly why no test runs it."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.checkout import installation, sample_images
from tests.support.documentation import commands, pages
from tests.support.mednist_zip import write_mednist_zip
from tests.support.processes import ROOT, wait_for
from tests.support.service_process import running_service

MARKED: Final = {
    "CONTRIBUTING.md": 2,
    "docs/access.md": 3,
    "docs/certificates.md": 3,
    "docs/deployment.md": 28,
    "docs/envelopes.md": 4,
    "docs/erasure.md": 4,
    "docs/evaluation.md": 3,
    "docs/integration.md": 9,
    "docs/measurements.md": 6,
    "docs/monitoring.md": 1,
    "docs/operations.md": 13,
    "docs/outputs.md": 1,
    "docs/pacs.md": 14,
    "docs/prediction_sets.md": 3,
    "docs/scaling.md": 1,
    "docs/selftest.md": 1,
    "docs/tuning.md": 11,
}
"""Page -> commands that no test runs. Each has its reason above it."""
WRITTEN_AS: Final = "http://127.0.0.1:8000"
DEMO: Final = ".venv/bin/certrad demo"
UP: Final = ".venv/bin/certrad up"
_PAGES: Final = [page for page in pages() if any(command.skipped is None for command in commands(page))]
_ABSTAINED: Final = 3


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_commands_that_no_test_runs_are_these() -> None:
    skipped = Counter(_id(page) for page in pages() for command in commands(page) if command.skipped)
    assert skipped == MARKED


def test_every_reason_is_a_sentence_of_its_own() -> None:
    for page in pages():
        for command in commands(page):
            assert command.skipped is None or len(command.skipped.split()) >= 4, command


@pytest.mark.parametrize(("verb", "command"), [("demo", DEMO), ("up", UP)])
def test_verb_of_make_is_the_command_that_stands_for_it_here(verb: str, command: str) -> None:
    # The suite itself may run under make, whose flags and variables would reach this one.
    env = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS")
    }
    plan = subprocess.run(["make", "-n", verb], cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    assert plan.splitlines()[-1].strip() == command


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A folder that looks like a checkout with `make setup` done, the reader's images in it, and a service running."""

    folder: Path
    url: str

    def run(self, page: Path) -> subprocess.CompletedProcess[str]:
        """Runs the commands of a page in one shell, up to the first that fails."""
        lines = [
            "set -uo pipefail",
            'curl() { command curl --fail-with-body "$@"; }',  # an answer of 4xx or 5xx is a failure here
        ]
        for command in commands(page):
            text = command.text.replace(WRITTEN_AS, self.url)
            if command.skipped is None and text.split("#")[0].strip() not in ("make up", "certrad up"):  # it runs
                text = text.replace("make demo", f"{DEMO} --n 100")
                lines.append(f"{{ {text}\n}} || [ $? -eq {_ABSTAINED} ] || {{ echo {len(lines)} failed >&2; exit 1; }}")
        return subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "CERTRAD_URL": self.url,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    folder = Path(tempfile.mkdtemp(prefix="cr-"))  # short: the address of a Unix socket has 107 bytes
    try:
        installation(folder)
        _reader_s_images(folder)
        with running_service(folder) as url:
            _first_certificate(url)
            yield Checkout(folder=folder, url=url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", _PAGES, ids=_id)
def test_commands_of_a_page_run_as_they_are_written(checkout: Checkout, page: Path) -> None:
    shutil.copy(sample_images() / "data" / "RG1_UNCI.dcm", checkout.folder / "chest.dcm")
    done = checkout.run(page)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _first_certificate(url: str) -> None:
    """Returns what a reader of any page but the tutorial has already: with it the service has made its signing key."""
    image = (sample_images() / "data" / "RG1_UNCI.dcm").read_bytes()
    job = httpx.post(
        f"{url}/certify", params={"n": 1000}, content=image, headers={"Prefer": "wait=30"}, timeout=60
    ).json()
    wait_for(lambda: _status(url, job["id"]) == "succeeded", what="the first certificate")


def _status(url: str, job_id: str) -> str:
    return str(httpx.get(f"{url}/jobs/{job_id}", timeout=60).json()["status"])


def _reader_s_images(folder: Path) -> None:
    """Returns what a reader would have: single images, labelled ones, and MedNIST."""
    generator = np.random.default_rng(0)

    def write(path: Path, level: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(level, level + 60, (64, 64)).astype(np.uint8)
        Image.fromarray(pixels).save(path, "png")

    for index in range(2):
        write(folder / "my-images" / f"{index}.png", 20 + 150 * index)
    write(folder / "new.png", 100)
    rows = ["path,label"]
    for level, name in ((0, "ant"), (90, "bee"), (180, "cow")):
        for index in range(18):
            write(folder / "images" / name / f"{index:02}.png", level)
            rows.append(f"images/{name}/{index:02}.png,{name}")
    (folder / "labels.csv").write_text("\n".join(rows))
    for level, name in enumerate(("abdomen CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT")):
        for index in range(4):
            write(folder / "labelled" / name / f"{index}.png", 30 * level)
    for index in range(8):
        write(folder / "pool" / f"{index}.png", 20 * index)
    write_mednist_zip(folder / "mednist.zip", 2)
