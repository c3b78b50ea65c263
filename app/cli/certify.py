"""`certrad certify`: sends files to a service and follows them to their outcomes."""

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, get_args

from certrad.app.cli import console
from certrad.app.cli.client import Client, Job, ProblemError
from certrad.app.cli.saved_results import save
from certrad.app.cli.service import add_json, add_local, add_url, with_private_service, with_service
from certrad.app.cli.study import add_study, certify_study
from certrad.models.types import Bound, Region, SmoothingParams
from certrad.models.types.smoothing import ALPHA_RANGE, N0_MIN, N_MAX, SIGMA_RANGE, TARGET_MAX
from certrad.models.types.window import read_window
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.commands import ABSTAINED, BAD_USAGE, DONE, FAILURE
from certrad.workers.contract.option_kinds import Kind, choice, existing, integer, number, path, region, text

P = ParamSpec("P")
_WORST_FIRST: Final = (FAILURE, BAD_USAGE, ABSTAINED, DONE)
FIELDS: Final = (
    "task",
    "classes",
    "template",
    "backbone",
    "prompt",
    "adaptation",
    "adapt_steps",
    "adapt_samples",
    "adapt_lr",
    "context",
    "sigma",
    "alpha",
    "n0",
    "n",
    "bound",
    "target_radius",
    "frame",
    "region",
    "window",
    "priority",
)
"""The options that are fields of POST /certify; those left out are not sent, so that the service's defaults hold."""


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    sources = existing("file", "folder", metavar="FILE|DIR")
    parser.argument(
        "paths",
        sources,
        "PNG, JPEG, TIFF or DICOM files; folders stand for every file in them",
        many=True,
        optional=True,
    )
    add_study(parser)
    add_url(parser)
    add_local(parser, "start a private service for this command")
    parser.option("--save", path("DIR"), "folder to write the certificate, the job and the model input (PNG) to")
    add_json(parser)
    _add_classifier(parser)
    _add_smoothing(parser)
    parser.option("--frame", integer(1), "frame of a multi-frame image; required when there are several")
    parser.option("--region", region(), "part of the image to classify, in pixels", without="the whole image")
    parser.option("--window", _window(), "window of a grey image", without="file: its own, else the task's preset")
    priority = choice("normal", "urgent")
    parser.option("--priority", priority, "priority; urgent goes before every normal job", without="normal")
    parser.check(_rules)


def _add_classifier(parser: Parser) -> None:
    parser.option("--task", text("ID"), "task, of GET /tasks", without="the prompt's own, else the service's")
    parser.option("--classes", text("JSON"), "list of class names as JSON, instead of `--task`")
    parser.option("--template", text("TEXT"), "text with one {} for the class name, with `--classes`")
    parser.option("--backbone", text("ID"), "backbone, of GET /backbones", without="the prompt's or task's own")
    parser.option(
        "--prompt", text("ID"), "prompt, of `certrad prompts list`, or template", without="the task's default prompt"
    )
    parser.option(
        "--adaptation",
        choice("none", "zero_shot", "gated"),
        "adaptation; zero_shot tunes the prompt on this image, gated weighs a bank of prompts on each noisy sample",
        without="gated with a bank, else the installation's, else none",
    )
    parser.option("--adapt-steps", integer(1, 100), "optimizer steps of zero_shot", without="1")
    parser.option("--adapt-samples", integer(2, 1000), "noisy copies that zero_shot averages", without="100")
    parser.option("--adapt-lr", number(1e-6, 1.0), "learning rate of zero_shot", without="0.005")
    parser.option(
        "--context",
        choice("words", "tokens"),
        "part of a hand-written prompt that zero_shot learns: as many vectors as it has words, or all its tokens",
        without="tokens",
    )


def _add_smoothing(parser: Parser) -> None:
    params = SmoothingParams()
    parser.option(
        "--sigma", _sigma(), "noise standard deviation, pixels in [0, 1]; auto selects one", without=f"{params.sigma:g}"
    )
    parser.option(
        "--alpha", number(*ALPHA_RANGE), "failure probability of the certificate", without=f"{params.alpha:g}"
    )
    parser.option("--n0", integer(N0_MIN, N_MAX), "samples that choose the class", without=str(params.n0))
    parser.option("--n", integer(N0_MIN, N_MAX), "samples that bound its probability", without=str(params.n))
    parser.option(
        "--bound",
        choice(*get_args(Bound)),
        "bound; two_class bounds the runner-up too, cohen uses 1 - p_A",
        without=params.bound,
    )
    parser.option(
        "--target-radius",
        number(0, TARGET_MAX * SIGMA_RANGE[1], above=True),
        "radius at which to stop, as soon as it is proved or cannot be",
        without="use all samples",
    )


def _sigma() -> Kind:
    fixed = number(*SIGMA_RANGE)

    def read(given: str) -> object:
        if given == "auto":
            return given
        try:
            return fixed.read(given)
        except ValueError as problem:
            raise ValueError(f"{problem}, or auto") from None

    return Kind(read=read, metavar="X|auto", values=fixed.values)


def _window() -> Kind:
    def read(given: str) -> str:
        read_window(given)
        return given

    values = "file, CENTRE,WIDTH in HU or other values of the file, a preset of the task, or percentile"
    return Kind(read=read, metavar="WINDOW", values=values)


def _rules(options: Namespace) -> Iterator[str]:
    if bool(options.paths) == (options.study is not None):
        yield "either `FILE|DIR` or `--study` must be given"
    if options.study is not None and (given := [name for name in FIELDS if getattr(options, name) is not None]):
        yield f"`--study` leaves `--{given[0].replace('_', '-')}` to the rules of the connector"
    if options.task is not None and options.classes is not None:
        yield "`--task` and `--classes` exclude each other"
    for name in ("adapt_steps", "adapt_samples", "adapt_lr", "context"):
        if getattr(options, name) is not None and options.adaptation not in (None, "zero_shot"):
            yield f"`--{name.replace('_', '-')}` goes with `--adaptation zero_shot` only"
    n0, n = options.n0 or SmoothingParams().n0, options.n or SmoothingParams().n
    if n0 > n:
        yield f"`--n0` must be at most `--n`; got {n0} and {n}"
    given = [source for source in options.paths if source is not None]
    for folder in given:
        if folder.is_dir() and not visible_files(folder):
            yield f"`FILE|DIR` must be a file, or a folder with files; got '{folder}'"


def visible_files(folder: Path) -> list[Path]:
    """Returns the files in and below a folder, by name, without those whose names begin with a dot."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def run(options: Namespace) -> int:
    """Certifies every file.

    Returns:
        The worst of the exit codes.
    """
    if options.study is not None:
        return with_service(
            options, partial(certify_study, study=options.study, series=options.series, as_json=options.json)
        )
    files = [file for source in options.paths for file in (visible_files(source) if source.is_dir() else [source])]
    given = {name: getattr(options, name) for name in FIELDS}
    fields = {name: _as_field(value) for name, value in given.items() if value is not None}

    def work(client: Client) -> int:
        return certify(client, files, fields, as_json=options.json, folder=options.save)

    if options.local:
        return with_private_service(work, data_dir=options.data_dir, keep=False)
    return with_service(options, work)


def _as_field(value: object) -> str:
    return f"{value.x},{value.y},{value.w},{value.h}" if isinstance(value, Region) else str(value)


def certify(
    client: Client, files: Sequence[Path], fields: Mapping[str, str], *, as_json: bool, folder: Path | None = None
) -> int:
    """Submits every file, then follows one after the other; Ctrl+C cancels the jobs that have not ended.

    Args:
        client: The service.
        files: The images.
        fields: The fields of every request.
        as_json: Whether to print a line of JSON for each file instead of a table.
        folder: Where to save certificates, jobs and model inputs; None for nowhere.

    Returns:
        The worst of the exit codes.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl+C.
    """
    with console.progress_bars() as progress:
        submitted = [_attempt(_submit, client, file, fields) for file in files]
        bars = [
            console.add_bar(progress, file.name, job if isinstance(job, Job) else None)
            for file, job in zip(files, submitted, strict=True)
        ]
        try:
            outcomes = [
                _attempt(console.follow, client, job, progress, bar) if isinstance(job, Job) else job
                for job, bar in zip(submitted, bars, strict=True)
            ]
        except KeyboardInterrupt:
            _cancel(client, submitted)
            raise
    named = list(zip(files, outcomes, strict=True))
    if as_json:
        for file, outcome in named:
            console.write_json({"file": str(file), **_as_json(outcome)})
    else:
        _show(named)
    codes = [_code(outcome) for outcome in outcomes]
    if folder is not None:
        codes.append(save(client, [(file, job) for file, job in named if isinstance(job, Job)], folder))
    return min(codes, key=_WORST_FIRST.index)


def _submit(client: Client, file: Path, fields: Mapping[str, str]) -> Job:
    return client.submit(file.read_bytes(), fields)


def _attempt(action: Callable[P, Job], *args: P.args, **kwargs: P.kwargs) -> Job | ProblemError | OSError:
    try:
        return action(*args, **kwargs)
    except (ProblemError, OSError) as error:
        return error


def _cancel(client: Client, submitted: Iterable[Job | ProblemError | OSError]) -> None:
    for job in submitted:
        if isinstance(job, Job) and not client.job(job.id).ended:
            client.cancel(job.id)


def _code(outcome: Job | ProblemError | OSError) -> int:
    match outcome:
        case Job(result={"outcome": "certified"}):
            return DONE
        case Job(result={"outcome": "abstained"}):
            return ABSTAINED
        case ProblemError(status=422):  # an error of the request, reported before there was a job
            return BAD_USAGE
        case _:
            return FAILURE


def _as_json(outcome: Job | ProblemError | OSError) -> dict[str, Any]:
    match outcome:
        case Job():
            return {**outcome.raw, "certificate_sha256": outcome.certificate_sha256}
        case ProblemError():
            return {"status": "refused", "error": {"code": outcome.code, "detail": outcome.detail}}
        case OSError():
            return {"status": "refused", "error": {"code": "unreadable_file", "detail": outcome.strerror}}


def _show(named: Iterable[tuple[Path, Job | ProblemError | OSError]]) -> None:
    rows = []
    for file, outcome in named:
        if isinstance(outcome, Job):
            rows.append(console.Row(image=str(file), job=outcome))
        else:
            console.errors().print(f"{file}: {outcome}", soft_wrap=True)
    if rows:
        console.print_results(console.output(), rows)
        console.print_ids(console.output(), rows)
        console.output().print(console.CAVEAT)
