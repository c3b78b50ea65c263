"""`certrad tune`: sends labelled images to a service, which tunes a prompt on them."""

import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args

from rich.console import Console

from certrad.app.cli import console
from certrad.app.cli.client import Client, Job, ProblemError
from certrad.app.cli.image_archive import ImagesError, Packed, is_archive, pack
from certrad.app.cli.prompts.default import words_of_replaced
from certrad.app.cli.service import add_json, add_local, add_url, with_private_service, with_service
from certrad.models.types.cards import ContextPosition
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.smoothing import SIGMA_RANGE
from certrad.models.types.tuning import BATCH_MAX, EPOCHS_MAX, N_CTX_MAX, SHOTS_MAX, Acquisition, TuningMethod
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.option_kinds import choice, existing, integer, number, numbers, text

FIELDS: Final = (
    "name",
    "method",
    "backbone",
    "adapter",
    "task",
    "classes",
    "shots",
    "epochs",
    "lr",
    "batch_size",
    "n_ctx",
    "class_specific",
    "position",
    "sigmas",
    "seed",
    "noise_space",
    "acquisition",
    "reference",
    "callback",
)
"""The options that are fields of POST /prompts; those left out are not sent, so that the service's defaults hold."""


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    parser.argument(
        "images",
        existing("file", "folder", metavar="IMAGES"),
        "folder with one folder of images for each class, a zip of such folders, or a CSV with columns path and label",
    )
    add_url(parser)
    add_local(parser, "start a private service, whose data directory stays")
    add_json(parser)
    parser.option("--default-for", text("ID"), "task whose default the prompt becomes, in place of its bank")
    parser.option("--name", text("NAME"), "name of the prompt", without="task and method")
    parser.option(
        "--method",
        choice(*get_args(TuningMethod)),
        "method; few_shot tunes on noisy images, coop on clean ones, advpt on adversarial embeddings",
        without="few_shot",
    )
    parser.option("--backbone", text("ID"), "backbone, of GET /backbones", without="the task's own")
    parser.option(
        "--adapter",
        text("ID"),
        "adapter, of GET /adapters, whose image encoder the prompt is tuned on, or none for the frozen one",
        without="the task's, else none",
    )
    parser.option("--task", text("ID"), "task, of GET /tasks, whose classes the folders hold")
    parser.option("--classes", text("JSON"), "list of class names as JSON", without="the names of the folders")
    parser.option("--shots", integer(1, SHOTS_MAX), "images of each class to tune on", without="16, with advpt all")
    parser.option("--epochs", integer(1, EPOCHS_MAX), "passes over the images", without="50, with advpt 100")
    parser.option("--lr", number(0, 1, above=True), "learning rate", without="0.002, with advpt 0.005")
    parser.option("--batch-size", integer(1, BATCH_MAX), "images of one step", without="16, with advpt 32")
    parser.option("--n-ctx", integer(1, N_CTX_MAX), "context vectors", without="5, with advpt 32")
    parser.flag("--class-specific", "tune context vectors for each class")
    parser.option(
        "--position", choice(*get_args(ContextPosition)), "place of the class name in the prompt", without="end"
    )
    parser.option("--sigmas", numbers(*SIGMA_RANGE), "noise levels of few_shot", without="0.25,0.5,0.75,1")
    parser.option("--seed", integer(0, 2**32 - 1), "random seed", without="0")
    space = "image whose pixels get the noise of few_shot; with image, all images must have one size"
    parser.option("--noise-space", choice(*get_args(NoiseSpace)), space, without=DEFAULT_NOISE_SPACE)
    parser.option(
        "--acquisition",
        choice(*get_args(Acquisition)),
        "changes of window, background and frame of every image that few_shot learns from",
        without="none",
    )
    parser.option("--reference", text("TEXT"), "note of your own, kept in the job and nowhere else")
    parser.option("--callback", text("URL"), "address that the service calls when the job has ended")
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    if options.task is not None and options.classes is not None:
        yield "`--task` and `--classes` exclude each other"
    if options.sigmas is not None and options.method not in (None, "few_shot"):
        yield "`--sigmas` goes with `--method few_shot` only"
    if options.noise_space == "image" and options.method not in (None, "few_shot"):
        yield "`--noise-space image` goes with `--method few_shot` only"
    if options.acquisition not in (None, "none") and options.method not in (None, "few_shot"):
        yield "`--acquisition` goes with `--method few_shot` only"


def run(options: Namespace) -> int:
    """Tunes the prompt.

    Returns:
        The exit code: 0 if there is a prompt.
    """
    given = {name: getattr(options, name) for name in FIELDS}
    fields = {name: _as_field(value) for name, value in given.items() if value not in (None, False)}

    def work(client: Client) -> int:
        return tune(client, options.images, fields, default_for=options.default_for, as_json=options.json)

    if options.local:
        return with_private_service(work, data_dir=options.data_dir, keep=True)
    return with_service(options, work)


def _as_field(value: object) -> str:
    match value:
        case True:
            return "true"
        case tuple():
            return json.dumps(value)
        case _:
            return str(value)


def tune(
    client: Client, source: Path, fields: Mapping[str, str], *, default_for: str | None = None, as_json: bool = False
) -> int:
    """Sends the images and follows the tuning; Ctrl+C cancels it.

    Args:
        client: The service.
        source: A folder with one folder for each class, a zip of such folders, or a CSV with the columns path and
            label.
        fields: The fields of POST /prompts.
        default_for: The task whose default the prompt becomes, and whose classes it is tuned on if `fields` name none.
            An unknown task, or one with other classes, is refused before the client sends anything.
        as_json: Whether to print JSON.

    Returns:
        The exit code: 0 there is a prompt, 2 bad usage, 1 failure.
    """
    try:
        fields = _for_task(client, fields, default_for)
        with _archive(source) as (archive, packed):
            job = _tuned(client, archive, fields, source.name)
    except ImagesError as error:
        return fail(str(error), BAD_USAGE)
    except ProblemError as problem:
        if as_json:
            console.write_json({"status": "refused", "error": {"code": problem.code, "detail": problem.detail}})
        return fail(str(problem), BAD_USAGE if problem.status == 422 else FAILURE)
    if job.result is None:
        return _report_failure(job, packed, as_json=as_json)
    try:
        replaced = None if default_for is None else client.make_default(job.result["prompt"], default_for)
    except ProblemError as problem:
        return fail(f"{job.result['prompt']} is tuned, but not the default of {default_for}: {problem}", FAILURE)
    if as_json:
        chosen = {} if default_for is None else {"default_for": default_for, "replaced": replaced}
        console.write_json({**job.raw, "result": {**job.result, **chosen}})
    else:
        print_prompt(console.output(), job.result["card"], default_for, replaced)
    return DONE


def print_prompt(out: Console, card: Mapping[str, Any], default_for: str | None, replaced: str | None = None) -> None:
    """Prints how the prompt was tuned, its accuracy on images it was not tuned on, and how to use it."""
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
        if replaced is not None:
            out.print(words_of_replaced(replaced, default_for), soft_wrap=True)
    out.print(f"certrad certify IMAGE --prompt {card['id']}", soft_wrap=True)


def accuracy(validation: Mapping[str, Any] | None) -> str:
    """Returns the accuracy figures of a card in words."""
    if validation is None:
        return "accuracy not measured: every image was used for tuning"
    noisy = ", ".join(f"{100 * at['accuracy']:.1f}% at sigma {at['sigma']:g}" for at in validation["noisy_accuracy"])
    return (
        f"accuracy on {validation['images']} other images: {100 * validation['clean_accuracy']:.1f}% without noise, "
        f"per noisy sample {noisy}"
    )


def _for_task(client: Client, fields: Mapping[str, str], task: str | None) -> Mapping[str, str]:
    """Returns the fields with which the prompt can become the task's default.

    Raises:
        ImagesError: The prompt could never become it.
    """
    if task is None:
        return fields
    classes = {card["id"]: card["class_names"] for card in client.get("/tasks")["tasks"]}
    if task not in classes:
        raise ImagesError(f"--default-for must be one of {', '.join(sorted(classes))}, got {task!r}")
    if not fields.keys() & {"task", "classes"}:
        return {**fields, "task": task}
    if classes.get(fields.get("task", ""), _class_names(fields)) not in (None, classes[task]):
        raise ImagesError(f"a prompt for other classes cannot be --default-for {task}: leave out --task and --classes")
    return fields


def _class_names(fields: Mapping[str, str]) -> object:
    """Returns the value of `classes`; None if the service will refuse it."""
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
    return fail(f"{detail} ({error['code']})", FAILURE)
