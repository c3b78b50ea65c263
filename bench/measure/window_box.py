"""Measures how often one class holds for every window of a box, on MedNIST test images.

    python -m certrad.bench window-box --data mednist.zip --out window_box.json
    python -m certrad.bench window-box --data mednist.zip --smoothed 6 --out window_box.json

A box moves the centre by so many grey levels, and the width by a factor. Every window is rounded to the lattice, so all
cells of a box are all its windows. Without noise, a cell is one answer of the base classifier. With noise, it has as
many samples as show the class at alpha if all agree, for the class that selection samples of the image chose. A box is
certified for an image where every cell has the image's true class.
"""

import argparse
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from certrad.bench.common.encoders import encoders
from certrad.bench.common.machine import this_machine
from certrad.bench.common.mednist import TASK, equal_sample, read_split
from certrad.bench.common.options import add_dtype, add_threads, use_threads
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import chosen_dtype, dtype_name
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import model_input
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, labels, select
from certrad.models.smoothing.variant_samples import VariantRule, of_variant
from certrad.models.types import TEMPLATE_PROMPT, BackboneCard, SamplingParams
from certrad.models.types.renderings import CellVariant
from certrad.models.types.sample_size import fewest_samples
from certrad.models.types.variant_lists import VARIANTS_LIMIT
from certrad.models.types.variants import VariantRecord
from certrad.models.types.window_boxes import WindowBox, box_cells, window_in_force
from certrad.workers.decoders import raster

BOXES: Final = ((0.0, 1.28), (13.0, 1.1), (26.0, 1.1), (26.0, 1.28), (38.0, 1.28), (38.0, 1.5), (51.0, 1.28))
MARK: Final = (26.0, 1.28)
"""The box whose seconds are measured."""
_BATCH: Final = 64
_MAX_PIXELS: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Whether one class holds in every cell of a box of one image.

    prompt: the prompt. noise: sigma, or 0 without noise. image: place in the sample. truth: its class. centre: grey
    levels by which the centre moves. width: factor of the width. cells: of the box. held: whether every cell has the
    true class. seconds: for the box whose time is measured; else None.
    """

    prompt: str
    noise: float
    image: int
    truth: str
    centre: float
    width: float
    cells: int
    held: bool
    seconds: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--data", type=Path, required=True, help="mednist.zip")
    parser.add_argument("--out", type=Path, required=True, help="result; a Markdown table is written beside it")
    parser.add_argument(
        "--prompts", nargs="+", help="checkpoints, or template; default: template and those of the task"
    )
    parser.add_argument("--folder", type=Path, default=SHIPPED_PROMPTS, help="folder of checkpoints beside the shipped")
    parser.add_argument("--images", type=int, default=36, help="test images, as many of each class")
    parser.add_argument("--largest", type=float, default=51.0, help="leave out boxes whose centre moves further")
    parser.add_argument("--smoothed", type=int, default=0, help="images whose middle box is sampled with noise too")
    parser.add_argument("--sigma", type=float, default=0.25, help="noise that the classifier is for")
    parser.add_argument("--seed", type=int, default=0)
    add_dtype(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures, then writes and prints the result."""
    use_threads(arguments)
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[task.default_backbone]
    dtype = chosen_dtype(arguments.dtype, torch.device("cpu"))
    backbone = load_backbone(card, weights_directory(card, Path("backbones")), dtype=dtype)
    images = read_split(arguments.data, "test")
    chosen = equal_sample(images.labels, len(task.class_names), arguments.images, arguments.seed)
    prompts = arguments.prompts or [name for name in (TEMPLATE_PROMPT, task.default_prompt, task.default_bank) if name]
    found: list[Held] = []
    for encoder, heads in encoders(backbone, task, prompts, arguments.folder):
        for place, index in enumerate(tqdm(chosen, unit="image")):
            image, truth = decoded(images.pixels[index]), int(images.labels[index])
            smoothed = place < arguments.smoothed
            boxes = {box: cells_of(image, *box) for box in BOXES if box[0] <= arguments.largest}
            told = place, image, boxes, truth, task.class_names
            found += _of_image(*told, encoder, heads, card, arguments.sigma, smoothed)
    document = {
        "class_names": task.class_names,
        "boxes": BOXES,
        "sigma": arguments.sigma,
        "seed": arguments.seed,
        "dtype": dtype_name(dtype),
        "data_sha256": file_sha256(arguments.data),
        "held": [asdict(each) for each in found],
        "machine": asdict(this_machine()),
    }
    write_json(arguments.out, document)
    table = as_markdown(found)
    arguments.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def decoded(pixels: NDArray[np.uint8]) -> DecodedImage:
    """Returns a grey image of 8 bits as the service decodes its PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return raster.decode(file.getvalue(), "png", max_pixels=_MAX_PIXELS)


def _of_image(
    place: int,
    image: DecodedImage,
    boxes: Mapping[tuple[float, float], Sequence[CellVariant]],
    truth: int,
    class_names: Sequence[str],
    encoder: Backbone,
    heads: Mapping[str, TextHead],
    card: BackboneCard,
    sigma: float,
    smoothed: bool,
) -> Iterator[Held]:
    """Yields what each prompt makes of every box of an image: without noise, and with it where that is asked for."""
    for prompt, head in heads.items():
        classifier, known = head.classifier(encoder, sigma), dict[CellVariant, int]()
        for box in sorted(boxes, key=lambda each: each != MARK):
            began = time.perf_counter()
            missing = [cell for cell in boxes[box] if cell not in known]
            known |= dict(zip(missing, unsmoothed_labels(image, missing, classifier, card), strict=True))
            held = all(known[cell] == truth for cell in boxes[box])
            seconds = time.perf_counter() - began if box == MARK else None
            yield _held(prompt, 0.0, place, class_names[truth], box, boxes[box], held, seconds)
        if smoothed:
            began = time.perf_counter()
            held = holds_under_noise(image, boxes[MARK], classifier, card, sigma, truth, key=bytes([place] * 32))
            seconds = time.perf_counter() - began
            yield _held(prompt, sigma, place, class_names[truth], MARK, boxes[MARK], held, seconds)


def _held(
    prompt: str,
    noise: float,
    place: int,
    truth: str,
    box: tuple[float, float],
    cells: Sequence[CellVariant],
    held: bool,
    seconds: float | None,
) -> Held:
    return Held(
        prompt=prompt,
        noise=noise,
        image=place,
        truth=truth,
        centre=box[0],
        width=box[1],
        cells=len(cells),
        held=held,
        seconds=seconds,
    )


def cells_of(image: DecodedImage, centre: float, width: float) -> list[CellVariant]:
    """Returns the cells of a box about the window of an image.

    Raises:
        ValueError: The image has no window.
    """
    if (base := window_in_force(image.facts.window)) is None:
        raise ValueError("the image must have a window")
    return box_cells(WindowBox(centre=centre, width=width), base, VARIANTS_LIMIT)


def seen_in(image: DecodedImage, cell: CellVariant, card: BackboneCard) -> NDArray[np.float32]:
    """Returns the model input of an image in a window of the lattice, (3, S, S).

    Raises:
        ValueError: The image has no window.
    """
    if image.rewindow is None:
        raise ValueError("the image must have a window")
    pixels = image.rewindow(cell.function, cell.centre, cell.width)
    shown = DecodedImage(pixels=pixels, sha256=image.sha256, facts=image.facts)
    return model_input(shown, card.image_size, card.fit).pixels


@torch.inference_mode()
def unsmoothed_labels(
    image: DecodedImage, cells: Sequence[CellVariant], classifier: VisionLanguageClassifier, card: BackboneCard
) -> list[int]:
    """Returns the label of the base classifier in each window, without noise."""
    found: list[int] = []
    for first in range(0, len(cells), _BATCH):
        seen = np.stack([seen_in(image, cell, card) for cell in cells[first : first + _BATCH]])
        found += [int(label) for label in labels(classifier.logits(torch.from_numpy(seen)))]
    return found


def holds_under_noise(
    image: DecodedImage,
    cells: Sequence[CellVariant],
    classifier: VisionLanguageClassifier,
    card: BackboneCard,
    sigma: float,
    truth: int,
    *,
    key: bytes,
) -> bool:
    """Returns whether the smoothed class is the true one, and is shown in every window by the minimum rule."""
    params = SamplingParams()
    sampler = NoisySampler(
        image=model_input(image, card.image_size, card.fit).pixels,
        sigma=sigma,
        noise=Noise(key),
        batch_size=_BATCH,
        device=torch.device("cpu"),
    )
    chosen = select(sampler, classifier, params)
    if chosen.top != truth:
        return False
    rule = VariantRule(
        class_index=truth,
        n=fewest_samples(params, classifier.n_classes, sigma, 0.0),
        split=params.alpha_split(classifier.n_classes),
        sigma=sigma,
        radius=0.0,
    )
    for cell in cells:
        of_cell = of_variant(
            NoisySampler(
                image=seen_in(image, cell, card),
                sigma=sigma,
                noise=sampler.noise,
                batch_size=_BATCH,
                device=sampler.device,
            ),
            rule.n,
        )
        record = VariantRecord(rendering=cell, input_sha256="0" * 64)
        if rule.estimate(record, of_cell, classifier, MemoryBlocks()).radius == 0:
            return False
    return True


def as_markdown(found: Sequence[Held]) -> str:
    """Returns a table of each prompt and noise: the share of images whose every window has the true class."""
    head = ["prompt", "sigma", "images", *(f"±{centre:g}, x{width:g}" for centre, width in BOXES), "median seconds"]
    lines = [head, ["---"] * len(head)]
    for prompt, noise in dict.fromkeys((each.prompt, each.noise) for each in found):
        of_both = [each for each in found if (each.prompt, each.noise) == (prompt, noise)]
        seconds = sorted(each.seconds for each in of_both if each.seconds is not None)
        shares = [[each.held for each in of_both if (each.centre, each.width) == box] for box in BOXES]
        lines.append(
            [
                f"`{prompt}`",
                f"{noise:g}" if noise else "none",
                str(len({each.image for each in of_both})),
                *(f"{np.mean(share):.3f}" if share else "–" for share in shares),
                f"{seconds[len(seconds) // 2]:.1f}",
            ]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
