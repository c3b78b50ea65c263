"""The demonstration: real DICOM images through the real service, with nothing prepared."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from certrad.app.cli import console as display
from certrad.app.cli.client import Client
from certrad.app.cli.console import CAVEAT, Row, add_bar, follow, print_results, progress_bars, rms_grey_levels
from certrad.app.cli.service import add_json, with_private_service
from certrad.models.types import SmoothingParams
from certrad.models.types.smoothing import N_MAX
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import integer, path

_PACKAGE: Final = "data_store"  # what pydicom-data installs
_LARGEST_SIGMA: Final = 1.0  # of the grid 0.1, 0.25, 0.5, 1


@dataclass(frozen=True, slots=True)
class Specimen:
    """One image of the demonstration and the noise it is certified under.

    Attributes:
        truth: The true class of the image, if it belongs to a class of the task.
    """

    file: str
    title: str
    truth: str
    sigma: float


SPECIMENS: Final = (
    Specimen("RG1_UNCI.dcm", "chest radiograph RG1_UNCI", "chest X-ray", 0.25),
    Specimen("693_J2KR.dcm", "head CT 693_J2KR", "head CT", 0.25),
    Specimen("RG1_UNCI.dcm", "chest radiograph RG1_UNCI, largest sigma", "chest X-ray", _LARGEST_SIGMA),
    Specimen("US1_UNCI.dcm", "ultrasound US1_UNCI, of no known class", "ultrasound", 0.25),
)


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.option("--n", integer(100, N_MAX), "number of estimation samples", default=2000)
    parser.flag("--keep", "keep the data directory with the certificates")
    parser.option("--data-dir", path("DIR"), "folder of everything the private service keeps; it stays", without="new")
    add_json(parser)


def run(options: Namespace) -> int:
    """Certifies the images of the demonstration and prints what was proved.

    Returns:
        The exit code.
    """
    try:
        repeat = commands(n=options.n)
    except MissingImagesError as error:
        return fail(str(error), FAILURE)

    def work(client: Client) -> int:
        rows = certify_specimens(client, n=options.n)
        words = notes(client, n=options.n)
        if options.json:
            display.write_json(report(rows, words, repeat))
        else:
            print_report(display.output(), rows, words, repeat)
        return DONE if all(row.job.status == "succeeded" for row in rows) else FAILURE

    return with_private_service(work, data_dir=options.data_dir, keep=options.keep)


class MissingImagesError(Exception):
    """The package with the demonstration's images is not installed."""


def image_path(file: str) -> Path:
    """Returns where pydicom-data keeps a file; it does not import the package.

    Raises:
        MissingImagesError: The package is not installed.
    """
    spec = find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / "data" / file
        if path.is_file():
            return path
    raise MissingImagesError("the demonstration's images are missing: run `make demo`, which installs them")


def certify_specimens(client: Client, *, n: int) -> list[Row]:
    """Returns the results of every specimen with n samples; progress bars go to standard error."""
    with progress_bars() as progress:
        jobs = [
            client.submit(image_path(specimen.file).read_bytes(), {"sigma": str(specimen.sigma), "n": str(n)})
            for specimen in SPECIMENS
        ]
        bars = [add_bar(progress, specimen.title, job) for specimen, job in zip(SPECIMENS, jobs, strict=True)]
        ended = [follow(client, job, progress, bar) for job, bar in zip(jobs, bars, strict=True)]
    return [
        Row(image=specimen.title, job=job, truth=specimen.truth) for specimen, job in zip(SPECIMENS, ended, strict=True)
    ]


def notes(client: Client, *, n: int) -> list[str]:
    """Returns what a reader of the results must know."""
    full = SmoothingParams().n
    titles = {view["card"]["id"]: view["card"]["title"] for view in client.get("/backbones")["backbones"]}
    return [
        f"n = {n}{' is reduced' if n < full else ''}; the default is {full}, and more samples prove larger radii",
        f"backbone demo: {titles['demo']}; a demonstration model for research use, not a medical device",
        CAVEAT,
    ]


def commands(*, n: int) -> list[str]:
    """Returns the commands that repeat the first certificate by hand."""
    specimen = SPECIMENS[0]
    image = shlex.quote(f"image=@{image_path(specimen.file)}")
    fields = f"-F sigma={specimen.sigma} -F n={n}"
    return [
        f"{shlex.quote(str(_certrad()))} up",
        f"curl -sS -H 'Prefer: wait=30' -F {image} {fields} http://127.0.0.1:8000/certify",
    ]


def _certrad() -> Path:
    """Returns the path of this installation's command, relative if it lies below the working directory.

    The command need not be on the PATH.
    """
    command = Path(sys.executable).with_name("certrad")
    return command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command


def print_report(console: Console, rows: Sequence[Row], words: Sequence[str], repeat: Sequence[str]) -> None:
    """Prints the table of the demonstration, what it means, and how to repeat it."""
    print_results(console, rows)
    for line in words:
        console.print(line, soft_wrap=True)
    console.print("\nrepeat it by hand, the service in one terminal and the request in another:")
    for command in repeat:
        console.print(f"  {command}", soft_wrap=True)


def report(rows: Sequence[Row], words: Sequence[str], repeat: Sequence[str]) -> dict[str, Any]:
    """Returns the demonstration's report as one JSON object."""
    return {
        "results": [
            {
                "image": row.image,
                "what_it_is": row.truth,
                "differs": row.differs,
                "status": row.job.status,
                "result": row.job.result,
                "error": row.job.error,
                "rms_grey_levels": rms_grey_levels(row.job.result) if row.job.result else None,
                "seconds": round(row.seconds, 3),
            }
            for row in rows
        ],
        "notes": list(words),
        "repeat": list(repeat),
    }
