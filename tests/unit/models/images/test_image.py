"""Decoded integers become the model input by the written rule."""

import hashlib
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage, check_size, crop, pixels_sha256
from certrad.models.images.model_input import ModelInput, model_input
from certrad.models.images.resize import AxisResize
from certrad.models.types import Region
from certrad.models.types.image import ImageFacts
from tests.support.images import noise

FACTS = ImageFacts(
    format="png", rows=8, columns=8, channels=1, bits=8, decoder="test 1", lossy=False, unit="grey level", slope=1 / 255
)


def picture(pixels: NDArray[np.float64]) -> DecodedImage:
    return DecodedImage(pixels=pixels, sha256="0" * 64, facts=FACTS)


def pillow_input(pixels: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Returns what Pillow's mode F and torchvision's sizes make of one channel."""
    height, width = pixels.shape
    shorter = min(height, width)
    new_height, new_width = size * height // shorter, size * width // shorter
    image = Image.fromarray(pixels.astype(np.float32)).resize((new_width, new_height), Image.Resampling.BICUBIC)
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    cropped = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float64)
    return np.clip(cropped, 0, 1)


@pytest.mark.parametrize("shape", [(512, 512), (300, 500), (640, 256), (96, 131), (28, 28), (225, 233), (224, 224)])
@pytest.mark.parametrize("size", [64, 224])
def test_model_input_is_what_pillow_computes_in_float(shape: tuple[int, int], size: int) -> None:
    pixels = np.random.default_rng(0).random((*shape, 3))
    expected = np.stack([pillow_input(pixels[..., channel], size) for channel in range(3)])
    assert np.abs(model_input(picture(pixels), size).pixels - expected).max() < 1e-5


def test_model_input_is_the_operator_on_both_axes() -> None:
    pixels = np.random.default_rng(1).random((100, 100, 1))
    matrix = AxisResize.to_centre(100, 64, 64).matrix()
    expected = np.clip(matrix @ pixels[..., 0] @ matrix.T, 0, 1)
    assert np.abs(model_input(picture(pixels), 64).pixels[0] - expected).max() < 1e-7


def test_grey_is_replicated() -> None:
    channels = model_input(picture(np.random.default_rng(2).random((70, 80, 1))), 64).pixels
    assert np.array_equal(channels[0], channels[1])
    assert np.array_equal(channels[0], channels[2])


def test_nothing_is_rounded_to_8_bits() -> None:
    ramp = np.broadcast_to(np.linspace(0.5, 0.501, 64), (64, 64))[..., None].copy()
    assert len(np.unique(model_input(picture(ramp), 64).pixels)) == 64


def test_model_input_is_read_only_and_in_range() -> None:
    result = model_input(picture(np.random.default_rng(3).integers(0, 2, (90, 90, 1)).astype(np.float64)), 224)
    assert result.pixels.dtype == np.float32
    assert result.pixels.shape == (3, 224, 224)
    assert 0 <= result.pixels.min() <= result.pixels.max() <= 1
    with pytest.raises(ValueError, match="read-only"):
        result.pixels[0, 0, 0] = 0


def test_model_input_survives_its_bytes() -> None:
    result = model_input(picture(np.random.default_rng(4).random((64, 64, 3))), 64)
    again = ModelInput.from_bytes(result.tobytes(), 64)
    assert np.array_equal(again.pixels, result.pixels)
    assert again.sha256 == hashlib.sha256(result.tobytes()).hexdigest()


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((3, 8, 8), np.nan, np.float32),
        np.full((3, 8, 8), 1.5, np.float32),
        np.zeros((3, 8, 8), np.float64),
        np.zeros((3, 8, 9), np.float32),
        np.zeros((1, 8, 8), np.float32),
    ],
)
def test_a_wrong_model_input_cannot_be_built(pixels: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="model input"):
        ModelInput(pixels=pixels)


@pytest.mark.parametrize("shape", [(8, 500_000, 1), (500_000, 8, 1)])
def test_an_extreme_aspect_ratio_costs_little_memory(shape: tuple[int, int, int]) -> None:
    strip = picture(np.full(shape, 0.5))
    tracemalloc.start()
    try:
        assert model_input(strip, 224).pixels.std() < 1e-6
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20


def test_digest_is_the_documented_one() -> None:
    stored = noise(9, 8, dtype="u2")
    header = '{"dtype":"<u2","law":"certrad-pixels-1","rendering":[{"full_range":[0.0,65535.0]}],"shape":[9,8]}'
    expected = hashlib.sha256(header.encode() + b"\n" + stored.astype("<u2").tobytes()).hexdigest()
    assert pixels_sha256(stored, [{"full_range": [0.0, 65535.0]}]) == expected
    assert pixels_sha256(stored.astype(">u2"), [{"full_range": [0.0, 65535.0]}]) == expected
    assert json.loads(header)


def test_digest_tells_pixels_shape_type_and_rendering_apart() -> None:
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8)
    changed = stored.copy()
    changed[0, 0] += 1
    digests = {
        pixels_sha256(stored, [{"full_range": [0.0, 255.0]}]),
        pixels_sha256(changed, [{"full_range": [0.0, 255.0]}]),
        pixels_sha256(stored.reshape(4, 16), [{"full_range": [0.0, 255.0]}]),
        pixels_sha256(stored.astype(np.uint16), [{"full_range": [0.0, 255.0]}]),
        pixels_sha256(stored, [{"full_range": [0.0, 127.0]}]),
    }
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("region", "code"),
    [
        (Region(x=0, y=0, w=31, h=20), "region_out_of_range"),
        (Region(x=25, y=0, w=8, h=8), "region_out_of_range"),
        (Region(x=0, y=13, w=8, h=8), "region_out_of_range"),
        (Region(x=0, y=0, w=7, h=20), "image_too_small"),
    ],
)
def test_crop_refuses(region: Region, code: str) -> None:
    with pytest.raises(Rejected) as refusal:
        crop(np.zeros((20, 30), np.uint8), region)
    assert refusal.value.code == code


def test_crop_takes_left_top_width_height() -> None:
    stored = noise(20, 30)
    assert np.array_equal(crop(stored, Region(x=2, y=3, w=10, h=9)), stored[3:12, 2:12])


@pytest.mark.parametrize(("rows", "columns", "code"), [(7, 100, "image_too_small"), (101, 100, "image_too_large")])
def test_size_is_limited(rows: int, columns: int, code: str) -> None:
    with pytest.raises(Rejected) as refusal:
        check_size(rows=rows, columns=columns, max_pixels=10_000)
    assert refusal.value.code == code


@pytest.mark.parametrize("decoder", ["Mustermann^Erika", "a" * 81, ""])
def test_facts_hold_no_free_text(decoder: str) -> None:
    with pytest.raises(ValueError, match="plain short names"):
        replace(FACTS, decoder=decoder)
