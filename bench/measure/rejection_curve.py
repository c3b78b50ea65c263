"""Measures what the extra class of a bank costs on known images and gains on unknown ones, over its false rejections.

    python -m certrad.bench rejection-curve --data mednist.zip --bank ID --out rejection.json

Unknown and near images are those of `unknown`. Known ones are of MedNIST's test split. For every share e of false
rejections the threshold is set anew on training images that are no shots; all shares see the same noisy samples.
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from certrad.bench.common.accuracy_report import label_counts
from certrad.bench.common.classifier import with_adapter
from certrad.bench.common.kept_banks import kept, other_images
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.noisy_images import SECRET, Study, as_input, prompt_card
from certrad.bench.common.options import add_sampling, use_threads
from certrad.bench.common.unknown_images import UNKNOWN, Shown, unknown_images
from certrad.bench.demo.common import as_inputs
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype
from certrad.models.backbones.weights import write_json
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import TextHead
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.training.bank import BankParams, noisy_directions
from certrad.models.prompts.training.rejection import Rivals, with_threshold
from certrad.models.prompts.training.trainer import sample_shots
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing import Noise, NoisySampler, Stream, decide, labels
from certrad.models.types import Certificate, PromptCard, SmoothingParams
from certrad.models.types.rejection import with_unlike

SHARES: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
RADII: Final = (0.0, 0.5, 0.9)
"""Radii of the table, in sigma."""
_WITHOUT: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer for one image. index is None for an abstention, and the number of classes for the extra class."""

    kind: str
    file: str
    label: int
    sigma: float
    e: str
    index: int | None
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """What one share e of false rejections gives at one sigma, in images.

    known: number of known images. right: those certified as their class, at each radius of RADII. known_rejected: those
    certified as the extra class. unknown: images of no class. as_known, unknown_rejected: those certified so.
    near: real images of a class from other sources. near_right, near_wrong, near_rejected: those certified so.
    """

    sigma: float
    e: str
    known: int
    right: tuple[int, ...]
    known_rejected: int
    unknown: int
    as_known: int
    unknown_rejected: int
    near: int
    near_right: int
    near_wrong: int
    near_rejected: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument("--bank", required=True, help="bank with an extra class")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS, help="folder of prompt checkpoints")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--images", type=int, default=120, help="number of known images")
    parser.add_argument("--threshold-copies", type=int, default=4, help="noisy copies of an image for the threshold")
    parser.add_argument("--batch-size", type=int, default=50, help="a divisor of n0 and n")
    parser.add_argument("--backbones", type=Path, default=Path("backbones"), help="folder of fetched backbones")
    add_sampling(parser)
    parser.set_defaults(n0=50, n=200)


def run(arguments: argparse.Namespace) -> None:
    """Measures, then writes and prints the result."""
    use_threads(arguments)
    machine, card = this_machine(), prompt_card(arguments.prompts, arguments.bank)
    shown = shipped_backbones()[card.backbone]
    dtype = chosen_dtype(arguments.dtype, torch.device("cpu"))
    encoder = with_adapter(
        load_backbone(shown, weights_directory(shown, arguments.backbones), dtype=dtype), card.adapter
    )
    bank = kept(encoder, card, arguments.prompts)
    heads = dict(_heads(encoder, bank, card, arguments))
    found = unknown_images(shown, shipped_tasks()[TASK])
    images = [("unknown" if each.label == UNKNOWN else "near", each) for each in found]
    images += [("known", each) for each in _known(arguments)]
    answers = [
        answer
        for kind, image in tqdm(images, unit="image")
        for sigma in arguments.sigmas
        for answer in _answers(encoder, heads, kind, image, sigma, arguments)
    ]
    rows = summarise(answers, len(card.class_names))
    document = {
        "bank": card.id,
        "dtype": encoder.precision,
        "n0": arguments.n0,
        "n": arguments.n,
        "alpha": SmoothingParams().alpha,
        "seed": arguments.seed,
        "rows": [asdict(row) for row in rows],
        "answers": [asdict(answer) for answer in answers],
        "machine": asdict(machine),
    }
    write_json(arguments.out, document)
    table = as_markdown(rows)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def summarise(answers: Sequence[Answer], n_classes: int) -> list[CurveRow]:
    """Returns a row for each sigma and share, in the order of the answers.

    Args:
        answers: The answer for each image at each sigma and share.
        n_classes: The number K of classes, which is the index of the extra class.
    """
    places = dict.fromkeys((answer.sigma, answer.e) for answer in answers)
    return [
        _row(sigma, e, [answer for answer in answers if (answer.sigma, answer.e) == (sigma, e)], n_classes)
        for sigma, e in places
    ]


def as_markdown(rows: Sequence[CurveRow]) -> str:
    """Returns the rows as a table, in percent of the images of each kind; near images as numbers."""
    of_rest = ("known: unlike", "unknown: as known", "unknown: unlike", "near: right", "near: wrong", "near: unlike")
    lines = [["σ", "e", "known: right", *(f"R ≥ {share:g}σ" for share in RADII[1:]), *of_rest]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        of_known = [f"{100 * number / row.known:.1f}" for number in (*row.right, row.known_rejected)]
        of_unknown = [f"{100 * number / row.unknown:.1f}" for number in (row.as_known, row.unknown_rejected)]
        near = [f"{number} of {row.near}" for number in (row.near_right, row.near_wrong, row.near_rejected)]
        lines.append([f"{row.sigma:g}", row.e, *of_known, *of_unknown, *near])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _row(sigma: float, e: str, answers: Sequence[Answer], n_classes: int) -> CurveRow:
    kinds = {kind: [answer for answer in answers if answer.kind == kind] for kind in ("known", "unknown", "near")}
    known, unknown, near = kinds.values()
    right = [answer for answer in known if answer.index == answer.label]
    return CurveRow(
        sigma=sigma,
        e=e,
        known=len(known),
        right=tuple(sum(answer.radius >= share * sigma for answer in right) for share in RADII),
        known_rejected=sum(answer.index == n_classes for answer in known),
        unknown=len(unknown),
        as_known=sum(answer.index is not None and answer.index < n_classes for answer in unknown),
        unknown_rejected=sum(answer.index == n_classes for answer in unknown),
        near=len(near),
        near_right=sum(answer.index == answer.label for answer in near),
        near_wrong=sum(answer.index not in (None, answer.label, n_classes) for answer in near),
        near_rejected=sum(answer.index == n_classes for answer in near),
    )


def _known(arguments: argparse.Namespace) -> Iterator[Shown]:
    split = read_split(arguments.data, "test")
    n_classes = len(shipped_tasks()[TASK].class_names)
    for index in equal_sample(split.labels, n_classes, arguments.images, arguments.seed):
        pixels = torch.from_numpy(as_input(split.pixels[index]))
        yield Shown(file=str(index), label=int(split.labels[index]), pixels=pixels)


@torch.inference_mode()
def _heads(
    encoder: Backbone, bank: Bank, card: PromptCard, arguments: argparse.Namespace
) -> Iterator[tuple[str, TextHead]]:
    """Yields the bank without its extra class, and with it at every share of false rejections."""
    names, extra = card.class_names, bank.rejection
    if extra is None:
        raise ValueError(f"{card.id} has no extra class")
    plain = replace(bank, rejection=None)
    yield _WITHOUT, TextHead.of_prompt(encoder, names, plain)
    images = read_split(arguments.data, "train")
    truth, seed = torch.from_numpy(images.labels), int(card.tuning["seed"])
    shots = sample_shots(truth, len(names), int(card.tuning["shots"]), seed)
    others = as_inputs(images, other_images(truth, shots, seed)[0])
    noise = BankParams(template="{}", sigmas=extra.sigmas, member_sigmas=extra.sigmas[:1], seed=seed + 1)
    copies = noisy_directions(encoder, others, replace(noise, copies=arguments.threshold_copies))
    texts = plain.text_features(encoder, names).cpu()
    known = Rivals.of(copies, plain, texts, encoder.logit_scale, extra.sigmas)
    for share in SHARES:
        moved = replace(bank, rejection=with_threshold(extra, known, encoder.logit_scale, share))
        yield f"{share:g}", TextHead.of_prompt(encoder, with_unlike(names), moved)


@torch.inference_mode()
def _answers(
    encoder: Backbone,
    heads: Mapping[str, TextHead],
    kind: str,
    image: Shown,
    sigma: float,
    arguments: argparse.Namespace,
) -> Iterator[Answer]:
    """Yields the answer of every head for one image, from one pass of noise."""
    pixels, params = image.pixels.numpy(), SmoothingParams(sigma=sigma, n0=arguments.n0, n=arguments.n)
    settings = hashlib.sha256(f"rejection curve {arguments.seed} {sigma}".encode()).hexdigest()
    sampler = NoisySampler(
        image=pixels,
        sigma=sigma,
        noise=Noise(noise_key(SECRET, hashlib.sha256(pixels.tobytes()).hexdigest(), settings)),
        batch_size=arguments.batch_size,
        device=encoder.device,
    )
    drawn = ((Stream.SELECT, arguments.n0), (Stream.ESTIMATE, arguments.n))
    features = [_features(encoder, sampler, stream, n) for stream, n in drawn]
    for e, head in heads.items():
        classifier = head.classifier(encoder, sigma)
        votes = [labels(classifier.logits_of_features(each)) for each in features]
        counted = [label_counts(Study.counts(each, classifier.n_classes)) for each in votes]
        outcome = decide(counted[0], counted[1], params)
        yield Answer(
            kind=kind,
            file=image.file,
            label=image.label,
            sigma=sigma,
            e=e,
            index=outcome.class_index if isinstance(outcome, Certificate) else None,
            radius=outcome.radius if isinstance(outcome, Certificate) else 0.0,
        )


def _features(encoder: Backbone, sampler: NoisySampler, stream: Stream, n: int) -> Tensor:
    parts = [encoder.encode_image(sampler.batch(stream, start)) for start in range(0, n, sampler.batch_size)]
    return F.normalize(torch.cat(parts)[:n].float(), dim=-1)
