"""The files of `certrad certify --save`: the certificate, the job with its result, and the model input."""

import json
from collections.abc import Sequence
from pathlib import Path

from certrad.app.cli.client import Client, Job, ProblemError
from certrad.app.cli.output_files import free_name
from certrad.workers.contract.exit_codes import DONE, FAILURE, fail


def save(client: Client, jobs: Sequence[tuple[Path, Job]], folder: Path, taken: set[str]) -> int:
    """Writes three files for each job, named after its image; a job without a certificate has fewer.

    Args:
        client: The service that has the jobs.
        jobs: The image of each job, and the job once it has ended.
        folder: Where to write; it is made.
        taken: The names that other images have; those of these images are added.

    Returns:
        The exit code: 0, or 1 after an error message if something could not be read or written.
    """
    code = DONE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image, job in jobs:
            name = free_name(image.name, taken)
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
