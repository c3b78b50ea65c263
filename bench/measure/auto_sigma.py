"""Certified radii of `sigma=auto` beside those of every fixed sigma of its grid, on MedNIST test images.

    python -m certrad.bench auto-sigma --data mednist.zip --journal auto.jsonl --out auto.json

The classifier is the one that serves the task when a request names nothing. Fixed sigmas and `auto` share their noisy
images, each certificate with the full alpha of its own. A run that was stopped goes on where the journal ends.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from certrad.bench.common.classifier import default_classifier
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, LabelledImages, equal_sample, read_split
from certrad.bench.common.noisy_images import SECRET, as_input
from certrad.bench.common.options import add_sampling, use_threads
from certrad.models.backbones.device import dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import VisionLanguageClassifier, text_features_sha256
from certrad.models.evaluation.journal import Journal
from certrad.models.shipped import shipped_tasks
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, estimate, select
from certrad.models.smoothing.routing import estimate_routes, select_route
from certrad.models.types import Certificate, Outcome, SamplingParams, SigmaRouting

BATCH_SIZE: Final = 50
AUTO: Final = "auto"
RADII: Final = (0, 0.1, 0.25, 0.5, 0.75, 1.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--journal", type=Path, required=True, help="scratch file, one JSON line an image")
    parser.add_argument("--out", type=Path, required=True, help="result")
    parser.add_argument("--images", type=int, default=48, help="rounded up to as many of each class")
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> None:
    """Certifies what the journal lacks, then writes and prints the result."""
    use_threads(arguments)
    routing = shipped_tasks()[TASK].sigma_routing
    if routing is None:
        raise ValueError(f"the task {TASK} needs a selector: python -m certrad.bench tune-sigma-selector")
    classifier = default_classifier(arguments.dtype)
    by_sigma = {sigma: classifier(sigma) for sigma in routing.sigmas}
    one = by_sigma[routing.sigmas[0]]
    settings = {
        "text_features_sha256": text_features_sha256(one.text_features),
        "backbone_sha256": one.backbone.sha256,
        "dtype": dtype_name(one.backbone.dtype),
        "data_sha256": file_sha256(arguments.data),
        "routing": asdict(routing),
        **{name: getattr(arguments, name) for name in ("images", "n0", "n", "seed")},
    }
    journal = Journal(arguments.journal, json.dumps(settings, sort_keys=True))
    images = read_split(arguments.data, "test")
    chosen = equal_sample(images.labels, one.n_classes, arguments.images, arguments.seed)
    for index in tqdm(chosen[len(journal.lines) :], unit="image"):
        params = SamplingParams(n0=arguments.n0, n=arguments.n)
        journal.append(json.dumps(measure(images, index, by_sigma, params, routing)))
    records = [json.loads(line) for line in journal.lines]
    document = {
        "settings": settings,
        "images": len(records),
        "results": summarise(records),
        "machine": asdict(this_machine()),
    }
    write_json(arguments.out, document)
    print(json.dumps(document["results"], indent=2))


def measure(
    images: LabelledImages,
    index: int,
    by_sigma: Mapping[float, VisionLanguageClassifier],
    params: SamplingParams,
    routing: SigmaRouting,
) -> dict[str, Any]:
    """The radius of every fixed sigma and of `auto`, 0 where the true class was not certified; and what `auto` did."""
    image, label = as_input(images.pixels[index]), int(images.labels[index])
    key = noise_key(SECRET, hashlib.sha256(image.tobytes()).hexdigest(), hashlib.sha256(b"auto-sigma").hexdigest())
    sampler = NoisySampler(
        image=image,
        sigma=routing.selector_sigma,
        noise=Noise(key),
        batch_size=BATCH_SIZE,
        device=by_sigma[routing.sigmas[0]].device,
    )
    radii, blocks = {}, [MemoryBlocks() for _ in routing.sigmas]
    for (sigma, classifier), kept in zip(by_sigma.items(), blocks, strict=True):
        at_sigma, fixed = sampler.with_sigma(sigma), params.at(sigma)
        found = estimate(at_sigma, classifier, fixed, select(at_sigma, classifier, fixed), kept)
        radii[str(sigma)] = radius_of(found.outcome, label)
    routed = estimate_routes(
        sampler,
        by_sigma.__getitem__,
        params,
        routing,
        select_route(sampler, by_sigma.__getitem__, params, routing),
        lambda route: MemoryBlocks() if route is None else blocks[route],
    )
    radii[AUTO] = radius_of(routed.outcome, label)
    return {
        "index": index,
        "label": label,
        "radii": radii,
        "sigma": routed.sigma,
        "routes_sampled": len(routed.routes),
        "selected_radius": routed.bounds[routed.selection.route].radius,
    }


def radius_of(outcome: Outcome, label: int) -> float:
    """The certified radius of the true class, else 0."""
    return outcome.radius if isinstance(outcome, Certificate) and outcome.class_index == label else 0.0


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean radii and certified accuracies, and how close `auto` comes to the best sigma of each image."""
    columns = {name: np.array([record["radii"][name] for record in records]) for name in records[0]["radii"]}
    best = np.max([column for name, column in columns.items() if name != AUTO], axis=0)
    auto = columns[AUTO]
    return {
        "mean_radius": {name: round(float(column.mean()), 4) for name, column in columns.items()},
        "mean_radius_of_the_best_sigma_per_image": round(float(best.mean()), 4),
        "certified_accuracy": {
            name: {str(r): round(float((column >= r).mean() if r else (column > 0).mean()), 4) for r in RADII}
            for name, column in columns.items()
        },
        "auto_at_least_95_percent_of_the_best": round(float((auto >= 0.95 * best).mean()), 4),
        "mean_radius_of_the_selected_route": round(float(np.mean([r["selected_radius"] for r in records])), 4),
        "mean_routes_sampled": round(float(np.mean([record["routes_sampled"] for record in records])), 3),
        "selected": {
            str(sigma): sum(record["sigma"] == sigma for record in records)
            for sigma in sorted({record["sigma"] for record in records})
        },
    }
