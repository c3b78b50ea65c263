"""Audits boxes of windows on images of 8 bits: the windows are opened as requests with a window would be."""

import io
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from certrad.models.audit.contradictions import Audit
from certrad.models.audit.window_boxes import ANCHORED, BoxFinding, BoxVerdict, Show, judge, search
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import model_input
from certrad.models.smoothing import labels
from certrad.models.types import BackboneCard
from certrad.models.types.window import FixedWindow, RenderedWindow, Unrounded
from certrad.models.types.window_boxes import GREY_LEVELS, BaseWindow, WindowBox, box_range
from certrad.workers.decoders import raster

BOX: Final = WindowBox(centre=26.0, width=1.28)
STEPS: Final = 15
_BASE: Final = BaseWindow(function="LINEAR", centre=GREY_LEVELS[0], width=GREY_LEVELS[1])
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
    box = box_range(BOX, _BASE)
    findings: dict[str, list[BoxFinding]] = {mode: [] for mode in modes}

    def label(seen: Iterable[NDArray[np.float32]]) -> list[int]:
        return _labels(list(seen), loaded)

    for place, pixels in enumerate(images):
        if (pixels == pixels[0]).all():
            file = _png(pixels[0])
            as_it_is, as_sent = _show(file, card, rounded=False), _show(file, card, rounded=True)
            for mode in modes:
                true = as_it_is if mode == ANCHORED else as_sent  # a grid that begins at a window holds that window
                findings[mode].append(search(mode, box, as_it_is, true, label, STEPS, Random(f"{seed} {place}")))
        on_image()
    return [judge(mode, findings[mode]) for mode in modes]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
    return file.getvalue()


def _show(file: bytes, card: BackboneCard, *, rounded: bool) -> Show:
    """Returns what decodes a file with a window of the request, as intake does."""

    def shown(centre: float, width: float) -> NDArray[np.float32]:
        sent = FixedWindow(centre=centre, width=width)
        window: RenderedWindow = sent if rounded else Unrounded(window=sent)
        decoded: DecodedImage = raster.decode(file, "png", max_pixels=1 << 24, window=window)
        return model_input(decoded, card.image_size, card.fit).pixels

    return shown


@torch.inference_mode()
def _labels(seen: Sequence[NDArray[np.float32]], loaded: Audit) -> list[int]:
    (mode,) = loaded.modes
    (head,) = mode.unadapted.values()
    found: list[int] = []
    for first in range(0, len(seen), _BATCH):
        batch = torch.from_numpy(np.stack(seen[first : first + _BATCH])).to(loaded.device)
        found += [int(each) for each in labels(head.logits_of_features(loaded.encode(batch)).cpu())]
    return found
