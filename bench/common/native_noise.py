"""One grey image certified twice: with noise in the model input, and with noise in its own grey levels."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.certificates.noise_key import noise_key
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import image_scale, model_input, rendered_image
from certrad.models.images.pixel_map import PixelMap
from certrad.models.images.units import radius_in_image_units
from certrad.models.prompts.context import text_features
from certrad.models.prompts.training.trainer import FewShotParams, image_features, random_context, train_epochs
from certrad.models.smoothing import certify
from certrad.models.types import Certificate, Outcome, SmoothingParams
from certrad.models.types.image import ImageFacts, ImageRadius, ImageScale
from certrad.models.types.pixels import WHITE

Space = Literal["model input", "image"]

SECRET: Final = b"python -m certrad.bench noise-space"
"""Published, unlike an installation's: anyone can draw the same noise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One square grey image at one sigma of the model input."""

    pixels: npt.NDArray[np.uint8]
    label: int
    sigma: float
    n0: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """L2 radii in grey levels that either noise shows of one image; None unless its true class is certified.

    native_sigma: of the noise in the image, on [0, 1].
    """

    side: int
    sigma: float
    native_sigma: float
    model: float | None
    native: float | None


def smaller(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """A square image reduced to `side` by means of square blocks, in whole grey levels; ValueError unless they fit."""
    if side < 1 or len(pixels) % side:
        raise ValueError(f"the side must divide {len(pixels)}, got {side}")
    block = len(pixels) // side
    means = pixels.reshape(side, block, side, block).mean(axis=(1, 3))
    reduced: npt.NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return reduced


def compare(job: Job, backbone: Backbone, texts: Mapping[tuple[int, Space], Tensor]) -> Found:
    """Certifies the image with noise sigma in the model input and with noise sigma / L in the image itself.

    L is the norm of the map from grey image to model input, so both kinds of noise can show the same radius in grey
    levels. texts: text features (K, D) by side and kind of noise.
    """
    picture, side = grey_picture(job.pixels), len(job.pixels)
    scale = image_scale(picture.facts, None, backbone.image_size)
    native_sigma = job.sigma / enlargement(scale)
    settings_sha256 = hashlib.sha256(f"{job.sigma} {job.n0} {job.n}".encode()).hexdigest()
    key = noise_key(SECRET, picture.sha256, settings_sha256)
    params = SmoothingParams(sigma=job.sigma, n0=job.n0, n=job.n)
    of_model = VisionLanguageClassifier(backbone, texts[side, "model input"])
    of_image = VisionLanguageClassifier(backbone, texts[side, "image"])
    rendered = rendered_image(picture, backbone.image_size)
    pixel_map = PixelMap.of(rendered.named((side, side), "crop").map, backbone.image_size)
    model = certify(model_input(picture, backbone.image_size).pixels, of_model, params, key=key)
    native = certify(rendered.pixels, of_image, replace(params, sigma=native_sigma), key=key, pixel_map=pixel_map)
    pulled_back = radius_in_image_units(_radius(model.outcome, job.label), scale)
    on_image = _radius(native.outcome, job.label)
    return Found(
        side=side,
        sigma=job.sigma,
        native_sigma=native_sigma,
        model=pulled_back.l2 if isinstance(pulled_back, ImageRadius) else None,
        native=None if on_image is None else WHITE * on_image,
    )


def grey_picture(pixels: npt.NDArray[np.uint8]) -> DecodedImage:
    """A square grey image as the service would decode it."""
    facts = ImageFacts(
        format="png",
        rows=len(pixels),
        columns=len(pixels),
        channels=1,
        bits=8,
        decoder="bench",
        lossy=False,
        unit="grey level",
        slope=1 / WHITE,
    )
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return DecodedImage(pixels=pixels[..., None] / WHITE, sha256=digest, facts=facts)


def enlargement(scale: ImageScale) -> float:
    """L: by how much the L2 norm of a change grows from a grey image in [0, 1] to the model input."""
    return math.sqrt(3) * scale.resize_vertical * scale.resize_horizontal


def tuned_text_features(
    backbone: Backbone,
    pixels: npt.NDArray[np.uint8],
    labels: Tensor,
    class_names: tuple[str, ...],
    space: Space,
    params: FewShotParams,
) -> Tensor:
    """Text features (K, D) of a few-shot prompt that was tuned under one kind of noise.

    pixels: (N, side, side) of the shots. The sigmas of `params` are of the model input; noise in the image is weaker
    by L, as in `compare`.
    """
    side, size = pixels.shape[1], backbone.image_size
    if space == "model input":
        inputs = np.stack([model_input(grey_picture(image), size).pixels for image in pixels])
        source = image_features(backbone, torch.from_numpy(inputs), params)
    else:
        images = torch.from_numpy(pixels[:, None] / np.float32(WHITE))
        scale = image_scale(grey_picture(pixels[0]).facts, None, size)
        levels = torch.tensor(params.sigmas) / enlargement(scale)
        rendered = rendered_image(grey_picture(pixels[0]), size)
        pixel_map = PixelMap.of(rendered.named((side, side), "crop").map, size)

        @torch.no_grad()
        def source(indices: Tensor, generator: torch.Generator) -> Tensor:
            batch = images[indices]
            sigma = levels[torch.randint(len(levels), (len(batch), 1, 1, 1), generator=generator)]
            noisy = batch + sigma * torch.randn(batch.shape, generator=generator)
            return backbone.encode_image(pixel_map.of_tensor(noisy))

    *_, last = train_epochs(backbone, source, labels, class_names, params)
    context = random_context(backbone, len(class_names), params).with_vectors(last.vectors)
    with torch.inference_mode():
        return text_features(backbone, class_names, context)


def _radius(outcome: Outcome, label: int) -> float | None:
    """The radius of a certificate of the true class."""
    if isinstance(outcome, Certificate) and outcome.class_index == label:
        return outcome.radius
    return None
