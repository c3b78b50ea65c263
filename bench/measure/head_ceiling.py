"""Measures the best classifier behind the frozen image encoder, beside the gated bank, on MedNIST test images.

    python -m certrad.bench head-ceiling --data mednist.zip --out ceiling.json

A small network is trained on single noisy features of thousands of labelled training images, where the bank saw 16 of
each class. Like the bank it is a function of one noisy sample, so its certificates would be `input_independent`; radii
that neither reaches are hardly there to be had with this encoder. Both are certified on the same noise.
"""

import argparse
import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from certrad.bench.common.classifier import default_classifier
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import LabelledImages, equal_sample, read_split
from certrad.bench.common.noisy_images import SECRET, as_input
from certrad.bench.common.options import add_sampling, use_threads
from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.certificates.noise_key import noise_key
from certrad.models.randomness import seeded
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, estimate, select
from certrad.models.smoothing.accuracy import Share, certified_accuracy
from certrad.models.smoothing.encoded import EncodedSampler, Head
from certrad.models.types import Outcome, SmoothingParams

BATCH_SIZE: Final = 50
RADII: Final = (0, 0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The certificates of one head at one sigma.

    noisy_samples: share of single noisy samples with the right label. certified_accuracy: of each of `RADII`.
    """

    head: str
    sigma: float
    noisy_samples: float
    certified_accuracy: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoisyProbe:
    """Logits of single noisy image features at one sigma: hidden units over standardised features and ln sigma.

    mean, std: (D,) of the features it was trained on.
    """

    network: torch.nn.Module
    mean: Tensor
    std: Tensor
    sigma: float
    n_classes: int

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Logits (B, K) of image features (B, D)."""
        seen = (F.normalize(features.float(), dim=-1) - self.mean) / self.std
        found: Tensor = self.network(torch.cat([seen, seen.new_full((len(seen), 1), math.log(self.sigma))], dim=1))
        return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--training-images", type=int, default=9000, help="rounded up to as many of each class")
    parser.add_argument("--copies", type=int, default=3, help="noisy copies of each at every sigma")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--images", type=int, default=204, help="test images, rounded up to as many of each class")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25, 0.5])
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train, certify, write and print the table."""
    use_threads(arguments)
    machine = this_machine()
    gated = default_classifier(arguments.dtype)
    bank = {sigma: gated(sigma) for sigma in arguments.sigmas}
    first = bank[arguments.sigmas[0]]
    training, test = read_split(arguments.data, "train"), read_split(arguments.data, "test")
    learned = equal_sample(training.labels, first.n_classes, arguments.training_images, arguments.seed)
    features = noisy_features(first.backbone, training, learned, arguments)
    labels = torch.from_numpy(training.labels[learned])
    probes = trained(features, labels, first.n_classes, arguments)
    chosen = equal_sample(test.labels, first.n_classes, arguments.images, arguments.seed)
    rows = []
    for sigma, probe in probes.items():
        params = SmoothingParams(sigma=sigma, n0=arguments.n0, n=arguments.n)
        heads: dict[str, Head] = {"gated bank": bank[sigma], "noisy probe": probe}
        rows += certified_rows(first.backbone, heads, test, chosen, params)
    settings = {name: getattr(arguments, name) for name in ("copies", "hidden", "steps", "sigmas", "n0", "n", "seed")}
    document = {
        "settings": {
            **settings,
            "training_images": len(learned),
            "images": len(chosen),
            "dtype": dtype_name(first.backbone.dtype),
            "backbone_sha256": first.backbone.sha256,
            "data_sha256": file_sha256(arguments.data),
        },
        "radii": RADII,
        "rows": [asdict(row) for row in rows],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = as_markdown(rows)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


@torch.inference_mode()
def noisy_features(
    backbone: Backbone, images: LabelledImages, indices: Sequence[int], arguments: argparse.Namespace
) -> Tensor:
    """L2-normalised features (S, N, C, D) of C noisy copies of each image at each of the S sigmas; not clipped."""
    generator = seeded(arguments.seed, "noisy probe")
    parts = []
    for start in tqdm(range(0, len(indices), BATCH_SIZE), unit="batch", desc="training images"):
        pixels = torch.stack(
            [torch.from_numpy(as_input(images.pixels[i])) for i in indices[start : start + BATCH_SIZE]]
        )
        copies = [
            backbone.encode_image(pixels + sigma * torch.randn(pixels.shape, generator=generator)).float()
            for sigma in arguments.sigmas
            for _ in range(arguments.copies)
        ]
        of_levels = torch.stack(copies).view(len(arguments.sigmas), arguments.copies, len(pixels), -1)
        parts.append(of_levels.transpose(1, 2))
    return F.normalize(torch.cat(parts, dim=1), dim=-1)


def trained(features: Tensor, labels: Tensor, n_classes: int, arguments: argparse.Namespace) -> dict[float, NoisyProbe]:
    """One network for all sigmas, by AdamW on the cross-entropy; as the head at each of them."""
    n_levels, n_images, n_copies, width = features.shape
    generator = seeded(arguments.seed, "probe steps")
    torch.manual_seed(arguments.seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(width + 1, arguments.hidden), torch.nn.GELU(), torch.nn.Linear(arguments.hidden, n_classes)
    )
    mean, std = features.mean((0, 1, 2)), features.std((0, 1, 2)).clamp_min(1e-6)
    log_sigmas = torch.tensor(arguments.sigmas).log()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    for _ in range(arguments.steps):
        level, image, copy = (
            torch.randint(size, (512,), generator=generator) for size in (n_levels, n_images, n_copies)
        )
        seen = torch.cat([(features[level, image, copy] - mean) / std, log_sigmas[level].unsqueeze(-1)], dim=1)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(seen), labels[image]))
        optimizer.step()
        schedule.step()
    return {
        sigma: NoisyProbe(network=network.requires_grad_(False), mean=mean, std=std, sigma=sigma, n_classes=n_classes)
        for sigma in arguments.sigmas
    }


def certified_rows(
    backbone: Backbone, heads: dict[str, Head], test: LabelledImages, chosen: Sequence[int], params: SmoothingParams
) -> list[Row]:
    """Returns the certificates of each head from the same noisy samples."""
    found: dict[str, list[tuple[Outcome, int]]] = {name: [] for name in heads}
    hits = dict.fromkeys(heads, 0)
    for index in tqdm(chosen, unit="image", desc=f"sigma {params.sigma:g}"):
        image, label = as_input(test.pixels[index]), int(test.labels[index])
        key = noise_key(
            SECRET, hashlib.sha256(image.tobytes()).hexdigest(), hashlib.sha256(b"head-ceiling").hexdigest()
        )
        sampler = EncodedSampler(
            pixels=NoisySampler(
                image=image, sigma=params.sigma, noise=Noise(key), batch_size=BATCH_SIZE, device=backbone.device
            ),
            encode=backbone.encode_image,
        )
        for name, head in heads.items():
            classifier = sampler.classifier(head)
            selection = select(sampler, classifier, params)
            estimation = estimate(sampler, classifier, params, selection, MemoryBlocks())
            found[name].append((estimation.outcome, label))
            hits[name] += estimation.counts.per_class[label]
    return [
        Row(
            head=name,
            sigma=params.sigma,
            noisy_samples=hits[name] / (params.n * len(results)),
            certified_accuracy=tuple(
                Share.of(round(certified_accuracy(results, radius) * len(results)), len(results)) for radius in RADII
            ),
        )
        for name, results in found.items()
    ]


def as_markdown(rows: Sequence[Row]) -> str:
    """Returns the table of docs/measurements.md, in percent."""
    radii = ("certified" if not radius else f"R ≥ {radius:g}" for radius in RADII)
    lines = [" | ".join(("| σ", "head", "noisy samples", *radii)) + " |", "|---" * (len(RADII) + 3) + "|"]
    for row in rows:
        shares = (row.noisy_samples, *(share.value for share in row.certified_accuracy))
        lines.append(" | ".join((f"| {row.sigma:g}", row.head, *(f"{100 * share:.1f}" for share in shares))) + " |")
    return "\n".join(lines) + "\n"
