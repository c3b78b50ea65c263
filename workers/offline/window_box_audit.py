"""Audits boxes of windows on images of 8 bits: what the service renders for a box, against files in true windows."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.audit.contradictions import Audit
from certrad.models.audit.window_boxes import (
    ANCHORED,
    DROPPED,
    BoxFinding,
    BoxVerdict,
    Label,
    judge,
    search,
    tried_windows,
)
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import model_input
from certrad.models.smoothing import labels
from certrad.models.types import BackboneCard
from certrad.models.types.renderings import CellVariant
from certrad.models.types.variant_lists import VARIANTS_LIMIT
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window import FileWindow
from certrad.models.types.window_boxes import WindowBox, box_range, window_in_force
from certrad.models.types.window_lattice import WindowRange
from certrad.workers.intake.variants import PixelTally, Source
from certrad.workers.offline.shown_levels import ShownLevels, shown_levels

BOX: Final = WindowBox(centre=26.0, width=1.28)
STEPS: Final = 15
_BATCH: Final = 64


def audit_boxes(
    modes: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    loaded: Audit,
    card: BackboneCard,
    seed: int,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> list[BoxVerdict]:
    """Returns the verdict on each mode for the box ±26 grey levels, width x1.28; images in colour are left out.

    Args:
        modes: Names of the modes.
        images: (3, S, S) on the grid 0..255.
        loaded: An audit with one mode, whose unadapted classifier is tried, without noise.
        card: The backbone, which names the size of the model input.
        seed: Random seed of the windows.
        on_image: Called for every finished image.
    """
    findings: dict[str, list[BoxFinding]] = {mode: [] for mode in modes}

    def label(seen: Iterable[NDArray[np.float32]]) -> list[int]:
        return _labels(list(seen), loaded)

    for place, pixels in enumerate(images):
        if (pixels == pixels[0]).all():
            for mode in modes:
                random = Random(f"{seed} {place}")
                findings[mode].append(attack(mode, shown_levels(pixels[0], place), card, label, random))
        on_image()
    return [judge(mode, findings[mode]) for mode in modes]


def attack(mode: str, image: ShownLevels, card: BackboneCard, label: Label, random: Random) -> BoxFinding:
    """Returns what true windows, opened as the service opens them, find against a box that it renders.

    Args:
        mode: One of `BOX_MODES`.
        image: The image, and how it is opened.
        card: The backbone, which names the size of the model input.
        label: Labels model inputs.
        random: Draws windows.

    Raises:
        ValueError: The image has no window that a box could be about.
    """
    base = window_in_force(image.first.facts.window)
    if base is None:
        raise ValueError("a box must be about an image with a window, or of 8 bits")
    box = box_range(BOX, base)

    def opened(centre: float, width: float) -> NDArray[np.float32]:
        shown = image.open(centre, width, mode != ANCHORED)  # a grid that begins at a window holds that window
        return model_input(shown, card.image_size, card.fit).pixels

    return search(_tried(mode, image, box, card), box, opened, label, STEPS, random)


def _tried(
    mode: str, image: ShownLevels, box: WindowRange, card: BackboneCard
) -> Generator[NDArray[np.float32], None, None]:
    """Yields what a mode tries: what the service renders for a certificate, without some of it, or in its place."""
    windows, first = tried_windows(mode, box), image.first
    if mode == ANCHORED:
        for window in windows:
            yield model_input(_moved(image, *window), card.image_size, card.fit).pixels
        return
    asked, kept = VariantsRequest(lists=(BOX,), n=1, radius=0.0, base="unsmoothed"), set(windows)
    source = Source(
        first=first, decode=lambda *_: first, window=FileWindow(), region=None, tally=PixelTally(on_size=None)
    )
    for rendering, shown in source.variants(asked, VARIANTS_LIMIT):
        dropped = isinstance(rendering, CellVariant) and (rendering.centre, rendering.width) not in kept
        if mode != DROPPED or not dropped:
            yield model_input(shown, card.image_size, card.fit).pixels


def _moved(image: ShownLevels, centre: float, width: float) -> DecodedImage:
    """Returns an image in a window as it is, which need not be on the lattice."""
    if image.first.rewindow is None:
        raise ValueError("the image has no window to move")
    return replace(image.first, pixels=image.first.rewindow(image.function, centre, width))


@torch.inference_mode()
def _labels(seen: Sequence[NDArray[np.float32]], loaded: Audit) -> list[int]:
    (mode,) = loaded.modes
    (head,) = mode.unadapted.values()
    found: list[int] = []
    for first in range(0, len(seen), _BATCH):
        batch = torch.from_numpy(np.stack(seen[first : first + _BATCH])).to(loaded.device)
        found += [int(each) for each in labels(head.logits_of_features(loaded.encode(batch)).cpu())]
    return found
