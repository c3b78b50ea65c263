"""`certrad tune`: labelled images sent to a service, and the prompt that it tunes on them."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from rich.console import Console

from certrad.app.cli import console
from certrad.app.cli.certify import BAD_USAGE, FAILURE
from certrad.app.cli.client import Client, Job, ProblemError
from certrad.app.cli.image_archive import ImagesError, Packed, is_archive, pack

TUNED: Final = 0


def tune(
    client: Client, source: Path, fields: Mapping[str, str], *, default_for: str | None = None, as_json: bool = False
) -> int:
    """Sends the images and follows the tuning; Ctrl+C cancels it.

    Returns the exit code: 0 there is a prompt, 2 bad usage, 1 failure.
    source: a folder of one folder for each class, a zip of such folders, or a CSV with the columns path and label.
    default_for: task whose default the prompt becomes, and whose classes it is tuned on where `fields` name none. An
        unknown one, and one of other classes, is refused before anything is sent.
    """
    try:
        fields = _for_task(client, fields, default_for)
        with _archive(source) as (archive, packed):
            job = _tuned(client, archive, fields, source.name)
    except ImagesError as error:
        return _refused(str(error), BAD_USAGE)
    except ProblemError as problem:
        if as_json:
            console.write_json({"status": "refused", "error": {"code": problem.code, "detail": problem.detail}})
        return _refused(str(problem), BAD_USAGE if problem.status == 422 else FAILURE)
    if job.result is None:
        return _report_failure(job, packed, as_json=as_json)
    try:
        if default_for is not None:
            client.make_default(job.result["prompt"], default_for)
    except ProblemError as problem:
        return _refused(f"{job.result['prompt']} is tuned, but not the default of {default_for}: {problem}", FAILURE)
    if as_json:
        console.write_json(job.raw)
    else:
        print_prompt(console.output(), job.result["card"], default_for)
    return TUNED


def print_prompt(out: Console, card: Mapping[str, Any], default_for: str | None) -> None:
    """What was tuned, on what, how well it does on images it was not tuned on, and how it is used."""
    tuning = card["tuning"]
    loss = tuning["losses"][-1]
    out.print(
        f"{card['id']}: {card['method']} on {card['backbone']}, {tuning['training_images']} images of "
        f"{len(card['class_names'])} classes, {tuning['epochs']} epochs, loss {loss:.4f}",
        soft_wrap=True,
    )
    out.print(accuracy(card["measured"].get("validation")), soft_wrap=True)
    if default_for is not None:
        out.print(f"it is the default prompt of {default_for} now", soft_wrap=True)
    out.print(f"certrad certify IMAGE --prompt {card['id']}", soft_wrap=True)


def accuracy(validation: Mapping[str, Any] | None) -> str:
    """The figures of a card in words."""
    if validation is None:
        return "accuracy not measured: every image was used for tuning"
    noisy = ", ".join(f"{100 * at['accuracy']:.1f}% at sigma {at['sigma']:g}" for at in validation["noisy_accuracy"])
    return (
        f"accuracy on {validation['images']} other images: {100 * validation['clean_accuracy']:.1f}% without noise, "
        f"per noisy sample {noisy}"
    )


def _for_task(client: Client, fields: Mapping[str, str], task: str | None) -> Mapping[str, str]:
    """The fields with which the prompt can become the task's default; raises ImagesError where it never could."""
    if task is None:
        return fields
    classes = {card["id"]: card["class_names"] for card in client.get("/tasks")["tasks"]}
    if task not in classes:
        raise ImagesError(f"--default-for must be one of {', '.join(sorted(classes))}, got {task!r}")
    if not fields.keys() & {"task", "classes"}:
        return {**fields, "task": task}
    if classes.get(fields.get("task", ""), _listed(fields)) not in (None, classes[task]):
        raise ImagesError(f"a prompt for other classes cannot be --default-for {task}: leave out --task and --classes")
    return fields


def _listed(fields: Mapping[str, str]) -> object:
    """The value of `classes`; None where the service will refuse it."""
    try:
        return json.loads(fields.get("classes", "null"))
    except ValueError:
        return None


@contextmanager
def _archive(source: Path) -> Iterator[tuple[BinaryIO, Packed]]:
    if is_archive(source):
        with source.open("rb") as file:
            yield file, Packed()
        return
    with tempfile.TemporaryFile() as file:
        with console.errors().status("packing the images"):
            packed = pack(source, file)
        file.seek(0)
        yield file, packed


def _tuned(client: Client, archive: BinaryIO, fields: Mapping[str, str], name: str) -> Job:
    with console.errors().status("sending the images"):
        job = client.tune(archive, fields)
    with console.progress_bars() as progress:
        bar = console.add_bar(progress, name, job)
        try:
            return console.follow(client, job, progress, bar)
        except KeyboardInterrupt:
            if not client.job(job.id).ended:
                client.cancel(job.id)
            raise


def _report_failure(job: Job, packed: Packed, *, as_json: bool) -> int:
    error = job.error or {"code": job.status, "detail": "the tuning was cancelled"}
    detail = packed.in_own_names(error["detail"])
    if as_json:
        console.write_json({**job.raw, "error": {**error, "detail": detail}})
    return _refused(f"{detail} ({error['code']})", FAILURE)


def _refused(message: str, code: int) -> int:
    console.errors().print(f"certrad: {message}", soft_wrap=True)
    return code
