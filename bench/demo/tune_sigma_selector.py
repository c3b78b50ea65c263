"""Tunes the selector of `sigma=auto`: a ridge regression of each sigma's radius on thumbnails of training images.

    python -m certrad.bench tune-sigma-selector --data mednist.zip --set-default

The radius of a training image at a sigma is estimated from a few noisy samples under what the service uses for the task
when a request names nothing: its bank, else its prompt. It need not be certified: weights decide how large the radii of
`auto` get, never whether they are true.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from tqdm import tqdm

from certrad.bench.common.classifier import default_classifier
from certrad.bench.common.mednist import TASK, LabelledImages, equal_sample, read_split
from certrad.bench.common.noisy_images import as_input
from certrad.bench.common.options import add_dtype
from certrad.bench.demo.common import TASK_CARD
from certrad.bench.demo.files import write_json
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.shipped import shipped_tasks
from certrad.models.smoothing import Noise, NoisySampler, select
from certrad.models.smoothing.selector import thumbnails
from certrad.models.types import LabelCounts, SigmaRouting, SmoothingParams

Floats = npt.NDArray[np.float64]

SIGMAS: Final = (0.25, 0.35, 0.5, 0.7, 1.0)
DECIMALS: Final = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    parser.add_argument("--selector-sigma", type=float, default=max(SIGMAS))
    parser.add_argument("--grid", type=int, default=2, help="side of the thumbnail")
    parser.add_argument("--ridge", type=float, default=0.3, help="in units of the mean variance of a thumbnail's pixel")
    parser.add_argument("--images", type=int, default=120, help="training images, rounded up to as many of each class")
    parser.add_argument("--samples", type=int, default=64, help="noisy samples of each image at each sigma")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    parser.add_argument("--set-default", action="store_true", help="write it into the card of the task")


def run(arguments: argparse.Namespace) -> None:
    """Estimate, fit, and print the routing."""
    classifier = default_classifier(arguments.dtype)
    by_sigma = {sigma: classifier(sigma) for sigma in arguments.sigmas}
    images = read_split(arguments.data, "train")
    n_classes = len(shipped_tasks()[TASK].class_names)
    chosen = equal_sample(images.labels, n_classes, arguments.images, arguments.seed)
    radii = np.array(
        [estimated_radii(images, index, by_sigma, arguments.samples) for index in tqdm(chosen, unit="image")]
    )
    small = np.concatenate([thumbnail(images.pixels[index], arguments.grid) for index in chosen])
    weights, biases = ridge(small, radii, arguments.ridge)
    routing = SigmaRouting(
        sigmas=tuple(arguments.sigmas),
        selector_sigma=arguments.selector_sigma,
        grid=arguments.grid,
        weights=tuple(map(tuple, weights.T.round(DECIMALS).tolist())),
        biases=tuple(biases.round(DECIMALS).tolist()),
    )
    if arguments.set_default:
        task = json.loads(TASK_CARD.read_text(encoding="utf-8"))
        write_json(TASK_CARD, {**task, "sigma_routing": asdict(routing)})
    print(json.dumps({"routing": asdict(routing), "mean_estimated_radius": radii.mean(axis=0).round(4).tolist()}))


def estimated_radii(
    images: LabelledImages, index: int, by_sigma: Mapping[float, VisionLanguageClassifier], n: int
) -> list[float]:
    """The radius of the true class of one image at each sigma, from n noisy samples."""
    image, label = as_input(images.pixels[index]), int(images.labels[index])
    sampler = NoisySampler(
        image=image,
        sigma=max(by_sigma),
        noise=Noise(hashlib.sha256(image.tobytes()).digest()),
        batch_size=n,
        device=torch.device("cpu"),
    )
    params = SmoothingParams(n0=n, n=n)
    return [
        sigma * estimated_margin(select(sampler.with_sigma(sigma), classifier, params), label)
        for sigma, classifier in by_sigma.items()
    ]


def estimated_margin(counts: LabelCounts, label: int) -> float:
    """The plug-in radius in sigma, at least 0, from frequencies drawn a little towards each other."""
    top, other = ((count + 0.25) / (counts.total + 1.5) for count in (counts.per_class[label], counts.runner_up(label)))
    return max(0.0, float(special.ndtri(top) - special.ndtri(other)) / 2)


def thumbnail(pixels: npt.NDArray[np.uint8], grid: int) -> Floats:
    """(1, grid * grid), as the selector sees it without noise."""
    found: Floats = thumbnails(torch.from_numpy(as_input(pixels))[None], grid).numpy()
    return found


def ridge(x: Floats, y: Floats, strength: float) -> tuple[Floats, Floats]:
    """Weights (D, B) and biases (B,) of y (N, B) on x (N, D); what all routes have in common is taken out."""
    centred = x - x.mean(axis=0)
    penalty = strength * len(x) * centred.var(axis=0).mean() * np.eye(x.shape[1])
    weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - y.mean(axis=0)))
    biases = y.mean(axis=0) - x.mean(axis=0) @ weights
    return weights - weights.mean(axis=1, keepdims=True), biases - biases.mean()
