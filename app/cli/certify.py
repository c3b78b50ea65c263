"""`certrad certify`: sends files to a service and follows them to their outcomes."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, get_args

from certrad.app.cli.certify_files import KeepFiles, certify
from certrad.app.cli.client import Client
from certrad.app.cli.output_files import DEFAULT_KINDS, OUTPUT_KINDS, OutputFolder
from certrad.app.cli.saved_results import save
from certrad.app.cli.service import add_json, add_local, add_url, with_private_service, with_service
from certrad.app.cli.study import add_study, certify_study
from certrad.models.types import Bound, Region, SmoothingParams
from certrad.models.types.calibration import BETA_RANGE, SET_RATIO_MAX
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.smoothing import ALPHA_RANGE, N0_MIN, N_MAX, SIGMA_RANGE, TARGET_MAX
from certrad.models.types.variants import VARIANT_RADIUS_MAX, VariantsBase
from certrad.models.types.window import read_window
from certrad.workers.contract.arguments import Parser
from certrad.workers.contract.exit_codes import BAD_USAGE, fail
from certrad.workers.contract.formats import SNIFFED_BYTES, sniff
from certrad.workers.contract.option_kinds import Kind, choice, existing, integer, number, path, region, text

FIELDS: Final = (
    "task",
    "classes",
    "template",
    "backbone",
    "prompt",
    "adapter",
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
    "noise_space",
    "variants",
    "variants_base",
    "variant_radius",
    "variant_n",
    "parameter_sigma",
    "prediction_set",
    "beta",
    "prediction_radius",
    "priority",
    "deadline",
    "reference",
    "callback",
)
"""The options that are fields of POST /certify; those left out are not sent, so that the service's defaults hold."""


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    sources = existing("file", "folder", metavar="FILE|DIR")
    words = "PNG, JPEG, TIFF or DICOM files; folders stand for every file in them"
    parser.argument("paths", sources, words, many=True, optional=True)
    words = "folder of images, instead of `FILE|DIR`; other files are skipped"
    parser.option("--in", existing("folder", metavar="DIR"), words)
    parser.option("--out", path("DIR"), "folder to write a file of each kind of output to, named after its image")
    parser.option("--write", _kinds(), "kinds of output to write, with `--out`", without=",".join(DEFAULT_KINDS))
    add_study(parser, excludes=("paths", "in", "out", "save", *FIELDS))
    add_url(parser)
    add_local(parser, "start a private service for this command")
    parser.option("--save", path("DIR"), "folder to write the certificate, the job and the model input (PNG) to")
    add_json(parser)
    _add_classifier(parser)
    _add_smoothing(parser)
    parser.option("--frame", integer(1), "frame of a multi-frame image; required when there are several")
    parser.option("--region", region(), "part of the image to classify, in pixels", without="the whole image")
    parser.option("--window", _window(), "window of a grey image", without="file: its own, else the task's preset")
    space = "image whose pixels get noise and have the radius; image is the rendered one, before the resize"
    parser.option("--noise-space", choice(*get_args(NoiseSpace)), space, without=DEFAULT_NOISE_SPACE)
    parser.option("--variants", text("JSON"), "list of other renderings that are to have the class too, as JSON")
    base = "classifier that is asked at each variant; unsmoothed is the base classifier without noise"
    parser.option("--variants-base", choice(*get_args(VariantsBase)), base, without="smoothed")
    words, most = "L2 radius asked for at each variant, at most 3 sigma", VARIANT_RADIUS_MAX * SIGMA_RANGE[1]
    parser.option("--variant-radius", number(0, most), words, without="0: the class only")
    parser.option("--variant-n", integer(N0_MIN, N_MAX), "samples of each variant", without="as few as can show it")
    parser.option("--parameter-sigma", text("JSON"), "noise on the window: window_centre and ln_window_width, as JSON")
    _add_prediction_set(parser)
    words = "priority; urgent goes before every normal job"
    parser.option("--priority", choice("normal", "urgent"), words, without="normal")
    words = "seconds after which nobody needs the result of an image"
    parser.option("--deadline", number(1, 604_800), words, without="none")
    parser.option("--reference", text("TEXT"), "note of your own, kept in the job and nowhere else")
    parser.option("--callback", text("URL"), "address that the service calls when the job has ended")
    parser.check(_rules)


def _add_prediction_set(parser: Parser) -> None:
    words = (
        "id of GET /calibrations; the certificate then lists classes, and the list misses the correct one in at most "
        "`--beta` of images"
    )
    parser.option("--prediction-set", text("ID"), words, without="none")
    words = "share of images whose list may miss the class"
    parser.option("--beta", number(*BETA_RANGE), words, without="the calibration's")
    words, most = "L2 norm of the changes that the list allows for, at most 4 sigma", SET_RATIO_MAX * SIGMA_RANGE[1]
    parser.option("--prediction-radius", number(0, most), words)


def _add_classifier(parser: Parser) -> None:
    parser.option("--task", text("ID"), "task, of GET /tasks", without="the prompt's own, else the service's")
    parser.option("--classes", text("JSON"), "list of class names as JSON, instead of `--task`")
    parser.option("--template", text("TEXT"), "text with one {} for the class name, with `--classes`")
    parser.option("--backbone", text("ID"), "backbone, of GET /backbones", without="the prompt's or task's own")
    parser.option(
        "--prompt", text("ID"), "prompt, of `certrad prompts list`, or template", without="the task's default prompt"
    )
    parser.option(
        "--adapter",
        text("ID"),
        "adapter of the image encoder, of GET /adapters, or none for the frozen one",
        without="the prompt's own, else the task's, else none",
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


def _kinds() -> Kind:
    def read(given: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(given.split(",")))
        if not set(names) <= set(OUTPUT_KINDS):
            raise ValueError(f"must be one or more of {', '.join(OUTPUT_KINDS)}, separated by commas")
        return names

    values = "; ".join(f"{name}: {kind.description}" for name, kind in OUTPUT_KINDS.items())
    return Kind(read=read, metavar="KIND,...", values=values)


def _rules(options: Namespace) -> Iterator[str]:
    yield from _rules_of_folders(options)
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


def _rules_of_folders(options: Namespace) -> Iterator[str]:
    source, target = getattr(options, "in"), options.out
    if source is None and not options.paths and options.study is None:
        yield "`FILE|DIR` is missing: name images, or a folder of images with `--in`, or a study with `--study`"
    if source is not None and options.paths:
        yield "`FILE|DIR` and `--in` exclude each other"
    if source is not None and target is None:
        yield "`--in` goes with `--out`, the folder to write to"
    if options.write is not None and target is None:
        yield "`--write` goes with `--out`, the folder to write to"
    if source is not None and target is not None and target.resolve().is_relative_to(source.resolve()):
        yield "`--out` must be outside the folder of `--in`: the next run would take outputs for images"


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
        asked = partial(certify_study, study=options.study, series=options.series, as_json=options.json)
        return with_service(options, asked)
    files, names = _sources(options)
    if not files:
        return fail(f"no file in '{getattr(options, 'in')}' is a PNG, JPEG, TIFF or DICOM file", BAD_USAGE)
    given = {name: getattr(options, name) for name in FIELDS}
    fields = {name: _as_field(value) for name, value in given.items() if value is not None}

    def work(client: Client) -> int:
        keep: list[KeepFiles] = []
        if options.save is not None:
            taken: set[str] = set()
            keep.append(lambda jobs: save(client, jobs, options.save, taken))
        if options.out is not None:
            kinds = options.write or DEFAULT_KINDS
            folder = OutputFolder(folder=options.out, kinds=kinds, names=names)
            keep.append(lambda jobs: folder.write(client, jobs))
        return certify(client, files, fields, as_json=options.json, keep=keep)

    if options.local:
        return with_private_service(work, data_dir=options.data_dir, keep=False)
    return with_service(options, work)


def _sources(options: Namespace) -> tuple[list[Path], dict[Path, str]]:
    """Returns the files to certify, and the name of each below the folder that it was found in."""
    files: list[Path] = []
    names: dict[Path, str] = {}
    folder: Path | None = getattr(options, "in")
    for source in [folder] if folder is not None else options.paths:
        for file in visible_files(source) if source.is_dir() else [source]:
            if folder is not None and not _is_image(file):
                sys.stderr.write(f"certrad: {file} is skipped: it is no PNG, JPEG, TIFF or DICOM file\n")
                continue
            files.append(file)
            names[file] = str(file.relative_to(source)) if source.is_dir() else file.name
    return files, names


def _is_image(file: Path) -> bool:
    """Returns whether a file begins as an image does; what cannot be read counts as one, so that it is reported."""
    try:
        with file.open("rb") as stream:
            return sniff(stream.read(SNIFFED_BYTES)) is not None
    except OSError:
        return True


def _as_field(value: object) -> str:
    return f"{value.x},{value.y},{value.w},{value.h}" if isinstance(value, Region) else str(value)
