"""The files of `certrad certify --save`: the certificate, the job with its result, and the model input."""

import json
from collections.abc import Sequence
from pathlib import Path

from certrad.app.cli.client import Client, Job, ProblemError
from certrad.workers.contract.commands import DONE, FAILURE, fail


def save(client: Client, jobs: Sequence[tuple[Path, Job]], folder: Path) -> int:
    """Writes three files for each job, named after its image; a job without a certificate has fewer.

    Args:
        client: The service that has the jobs.
        jobs: The image of each job, and the job once it has ended.
        folder: Where to write; it is made.

    Returns:
        The exit code: 0, or 1 after an error message if something could not be read or written.
    """
    code = DONE
    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image, job in jobs:
            name = _free(image.name, taken)
            (folder / f"{name}.job.json").write_text(json.dumps(job.raw, indent=2) + "\n", encoding="utf-8")
            if job.certificate is None:
                continue
            try:
                (folder / f"{name}.certificate.json").write_bytes(client.certificate(job.id))
                (folder / f"{name}.input.png").write_bytes(client.model_input(job.id))
            except ProblemError as problem:
                code = fail(f"{image}: {problem}", FAILURE)
    except OSError as error:
        return fail(f"{error.filename} cannot be written: {error.strerror}", FAILURE)
    return code


def _free(name: str, taken: set[str]) -> str:
    """Returns a name that no other image has: images of different folders may have the same name."""
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}-{number}"
    taken.add(chosen)
    return chosen
