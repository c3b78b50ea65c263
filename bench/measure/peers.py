"""Certifies the same images with certrad and beside it with the code that others have published.

    python -m certrad.bench peers --make-environment
    python -m certrad.bench peers --data mednist.zip --journal peers.jsonl --plot peers.svg

One classifier, one noise level, the same alpha, n0, n, batch size and number of threads and cores, through CERTIFY as
its authors' code does it, through the randomized smoothing of the Adversarial Robustness Toolbox (ART), and through
certrad at a fixed n and with a target radius. The systems take turns image by image, so that other work on the machine
slows all of them: compare the ratios, not the seconds. Where the machine is busy, compare those of the processor
seconds: certrad draws noise in a thread of its own, and a scheduler that is fair to threads gives two of them more of a
core than one. Every image is one line of the journal; a run that was stopped goes on where it ended. Without data the
images are drawn; the model was trained on no drawing, so that only the times say something then.
"""

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from certrad.bench.common.art_environment import Art, make_environment, python_of
from certrad.bench.common.journal import Lines
from certrad.bench.common.machine import pinned_to_cores, this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.noisy_images import as_input
from certrad.bench.common.options import add_dtype, threads_of_torch
from certrad.bench.common.peer_report import DIFFERENCES, as_markdown, summarise, write_plot
from certrad.bench.common.peer_study import (
    TEMPLATE,
    ClassifierChoice,
    Image,
    Round,
    Settings,
    System,
    drawn_images,
    measure,
)
from certrad.bench.common.peer_systems import FixedN, PublishedCertify, SmallestN, TargetRadius
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing.certify import BATCH_SIZE
from certrad.models.types import SmoothingParams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, help="mednist.zip; without it the images are drawn")
    parser.add_argument("--images", type=int, default=12, help="of --data rounded up to as many of each class")
    parser.add_argument("--journal", type=Path, help="scratch file, one JSON line an image")
    parser.add_argument("--out", type=Path, help="result, in JSON")
    parser.add_argument("--plot", type=Path, help="certified accuracy against processor seconds, .svg or .png")
    parser.add_argument("--backbone", default="demo", choices=sorted(shipped_backbones()))
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    parser.add_argument("--prompt", help=f"checkpoint, bank or `{TEMPLATE}`; default: the default prompt of the task")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")
    parser.add_argument("--sigma", type=float, default=SmoothingParams().sigma)
    parser.add_argument("--alpha", type=float, default=SmoothingParams().alpha)
    parser.add_argument("--n0", type=int, default=SmoothingParams().n0)
    parser.add_argument("--n", type=int, default=SmoothingParams().n)
    parser.add_argument("--target", type=float, default=1.0, help="target radius, in sigma")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--threads", type=int, default=1, help="of torch, and cores, of every system")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    parser.add_argument("--environment", type=Path, default=Path("build/art"), help="folder of ART's environment")
    parser.add_argument("--make-environment", action="store_true", help="make it, and stop; needs a package registry")
    parser.add_argument("--json", action="store_true", help="print the result, not the table")


def run(arguments: argparse.Namespace) -> None:
    """Makes the environment of ART, or measures what the journal lacks and prints the result."""
    if arguments.make_environment:
        make_environment(arguments.environment)
        return
    machine = this_machine()
    with ExitStack() as stack:
        stack.enter_context(pinned_to_cores(arguments.threads))
        stack.enter_context(threads_of_torch(arguments.threads))
        settings, rounds = study(arguments, stack)
    rows = summarise(rounds, settings.target_radius)
    document = {
        "settings": asdict(settings),
        "rows": [asdict(row) for row in rows],
        "differences": DIFFERENCES,
        "machine": asdict(replace(machine, threads=arguments.threads)),
    }
    if arguments.out:
        write_json(arguments.out, document)
    if arguments.plot:
        write_plot(arguments.plot, rounds, settings.target_radius)
    print(json.dumps(document, indent=2) if arguments.json else as_markdown(rows, settings.target_radius))
    if not arguments.json:
        print(f"\n{document['machine']}")


def study(arguments: argparse.Namespace, stack: ExitStack) -> tuple[Settings, list[Round]]:
    """Returns the settings, and the answers of every system for every image.

    Args:
        arguments: The options of the command.
        stack: Ends the process of ART.
    """
    choice = classifier_choice(arguments)
    classifier = choice.load()
    art = None
    if python_of(arguments.environment).exists():
        art = stack.enter_context(
            Art(arguments.environment, choice, threads=arguments.threads, batch_size=arguments.batch_size)
        )
    target = round(arguments.target * arguments.sigma, 4)
    settings = Settings(
        classifier=choice,
        backbone_sha256=classifier.backbone.sha256,
        params=SmoothingParams(sigma=arguments.sigma, alpha=arguments.alpha, n0=arguments.n0, n=arguments.n),
        target_radius=target,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        data_sha256=file_sha256(arguments.data) if arguments.data else None,
        art=art.version if art else None,
        seed=arguments.seed,
    )
    loop = PublishedCertify(classifier=classifier, batch_size=arguments.batch_size)
    systems: list[System] = [
        loop,
        SmallestN(loop=loop, target_radius=target),
        *([art] if art else []),
        FixedN(classifier=classifier, batch_size=arguments.batch_size),
        TargetRadius(classifier=classifier, batch_size=arguments.batch_size, target_radius=target),
    ]
    return settings, measured(systems, chosen_images(arguments), settings, arguments.journal)


def measured(systems: list[System], images: list[Image], settings: Settings, journal: Path | None) -> list[Round]:
    """Returns the answers for every image, from the journal where it has them."""
    kept = Lines(journal, settings, Round.from_json)
    done = {one.index for one in kept.records}
    todo = [(place, image) for place, image in enumerate(images) if image.index not in done]
    if todo:  # the first passes prepare kernels and memory
        short = replace(settings.params, n=settings.params.n0)
        measure(systems, todo[0][1], short, settings.seed, first=0)
    for place, image in tqdm(todo, unit="image"):
        kept.append(measure(systems, image, settings.params, settings.seed, first=place))
    of_index = {one.index: one for one in kept.records}
    return [of_index[image.index] for image in images]


def classifier_choice(arguments: argparse.Namespace) -> ClassifierChoice:
    """Returns the classifier that the options and the task name."""
    prompt = arguments.prompt or shipped_tasks()[TASK].default_prompt or TEMPLATE
    return ClassifierChoice(
        backbone=arguments.backbone,
        backbones=str(arguments.backbones),
        prompt=prompt,
        prompts=str(arguments.prompts),
        dtype=dtype_name(chosen_dtype(arguments.dtype, torch.device("cpu"))),
        sigma=arguments.sigma,
    )


def chosen_images(arguments: argparse.Namespace) -> list[Image]:
    """Returns random test images, as many of each class, or drawn ones where there is no data."""
    if arguments.data is None:
        return drawn_images(arguments.images, arguments.seed)
    found = read_split(arguments.data, "test")
    n_classes = len(shipped_tasks()[TASK].class_names)
    return [
        Image(index=index, pixels=as_input(found.pixels[index]), label=int(found.labels[index]))
        for index in equal_sample(found.labels, n_classes, arguments.images, arguments.seed)
    ]
