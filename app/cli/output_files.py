"""The files of `certrad certify --out`: for each image one file of each kind, named after the image."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from certrad.app.cli.client import Client, Job, ProblemError
from certrad.models.files import replace_file
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail
from certrad.workers.contract.outputs import OUTPUTS, OutputKind


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenKind:
    """One kind of output.

    Attributes:
        description: What it is, in words.
        suffix: What follows the name of the image in the name of the file.
        content: How the file is got.
        needs_certificate: Whether only a job with a certificate has it.
    """

    description: str
    suffix: str
    content: Callable[[Client, Job], bytes]
    needs_certificate: bool = True


def _report(kind: OutputKind) -> WrittenKind:
    return WrittenKind(
        description=OUTPUTS[kind].description,
        suffix=OUTPUTS[kind].suffix,
        content=lambda client, job: client.report(job.id, kind),
    )


OUTPUT_KINDS: Final[Mapping[str, WrittenKind]] = {
    "sr": _report("structured_report"),
    "sc": _report("secondary_capture"),
    "fhir": _report("fhir"),
    "json": WrittenKind(
        description="the certificate",
        suffix=".certificate.json",
        content=lambda client, job: client.certificate(job.id),
    ),
    "job": WrittenKind(
        description="the job with its result or error",
        suffix=".job.json",
        content=lambda _, job: json.dumps(job.raw, indent=2).encode() + b"\n",
        needs_certificate=False,
    ),
    "png": WrittenKind(
        description="the model input",
        suffix=".input.png",
        content=lambda client, job: client.model_input(job.id),
    ),
}
DEFAULT_KINDS: Final = ("sr", "sc", "fhir", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFolder:
    """The folder that a command writes to.

    Attributes:
        folder: Where to write; it is made.
        kinds: Names of `OUTPUT_KINDS`.
        names: The images of the command -> their names below the folders that they were found in; none of the images
            is written over.
    """

    folder: Path
    kinds: Sequence[str]
    names: Mapping[Path, str]
    _taken: set[str] = field(default_factory=set)

    def write(self, client: Client, jobs: Sequence[tuple[Path, Job]]) -> int:
        """Writes the files of some jobs that have ended; a job without a certificate has fewer.

        Args:
            client: The service that has the jobs.
            jobs: The image of each job, and the job.

        Returns:
            The exit code: 0, or 1 after an error message if something could not be read or written.
        """
        codes = [DONE]
        images = {image.resolve() for image in self.names}
        for image, job in jobs:
            name = free_name(self.names[image], self._taken)
            for kind in (OUTPUT_KINDS[each] for each in self.kinds):
                if job.certificate is None and kind.needs_certificate:
                    continue
                target = self.folder / f"{name}{kind.suffix}"
                if target.resolve() in images:
                    codes.append(fail(f"{target} is not written: it is one of the images", FAILURE))
                else:
                    codes.append(_write(target, image, partial(kind.content, client, job)))
        return max(codes)


def _write(target: Path, image: Path, content: Callable[[], bytes]) -> int:
    try:
        replace_file(target, content(), private=False)
    except ProblemError as problem:
        return fail(f"{image}: {target.name} is not written: {problem}", FAILURE)
    except OSError as error:
        return fail(f"{target} cannot be written: {error.strerror}", FAILURE)
    return DONE


def free_name(name: str, taken: set[str]) -> str:
    """Returns a name that no other image has, and takes it: images of different folders may have the same name.

    Args:
        name: The name of an image.
        taken: The names that other images have.
    """
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    taken.add(chosen)
    return chosen
