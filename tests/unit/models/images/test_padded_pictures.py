"""The model input of a backbone that pads an image to a square is that of MedCLIP's own processor."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import image_scale, model_input
from certrad.models.images.resize import AxisResize
from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, ClassifierSpec, Region
from certrad.models.types.image import ImageFacts
from certrad.workers.decoders.raster import decode
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings
from tests.support.images import encoded, noise

SHAPES = [(512, 512), (300, 500), (641, 256), (96, 131), (28, 224), (225, 233), (4, 200), (30, 1500)]
FACTS = ImageFacts(
    format="png", rows=8, columns=8, channels=1, bits=8, decoder="test 1", lossy=False, unit="grey level", slope=1 / 255
)


def picture(pixels: NDArray[np.float64]) -> DecodedImage:
    return DecodedImage(pixels=pixels, sha256="0" * 64, facts=FACTS)


def pillow_input(pixels: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Returns what Pillow's mode F makes of one channel pasted into the middle of a black square."""
    height, width = pixels.shape
    side = max(height, width, size)
    square = Image.new("F", (side, side), 0)
    square.paste(Image.fromarray(pixels.astype(np.float32)), (int((side - width) / 2), int((side - height) / 2)))
    return np.clip(np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64), 0, 1)


def full_matrix(axis: AxisResize) -> NDArray[np.float64]:
    matrix = np.zeros((len(axis.weights), axis.n))
    matrix[:, axis.samples.start : axis.samples.stop] = axis.matrix()
    return matrix


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [64, 224])
def test_a_padded_model_input_is_what_pillow_computes_in_float(shape: tuple[int, int], size: int) -> None:
    pixels = np.random.default_rng(0).random((*shape, 1))
    expected = pillow_input(pixels[..., 0], size)
    assert np.abs(model_input(picture(pixels), size, "pad").pixels - expected).max() < 1e-5


def test_a_small_picture_is_padded_and_not_enlarged() -> None:
    pixels = np.random.default_rng(1).random((100, 60, 1))
    square = model_input(picture(pixels), 224, "pad").pixels[0]
    assert np.array_equal(square[62:162, 82:142], pixels[..., 0].astype(np.float32))
    assert square.sum() == pytest.approx(pixels.sum(), rel=1e-6)


@pytest.mark.parametrize(("n", "side", "size"), [(300, 500, 224), (97, 97, 64), (28, 224, 224), (8, 3000, 224)])
def test_the_operator_of_an_axis_is_that_of_the_square_without_its_padding(n: int, side: int, size: int) -> None:
    axis, before = AxisResize.padded(n, side, size), (side - n) // 2
    whole = full_matrix(AxisResize.of_rows(side, size, range(size)))[:, before : before + n]
    assert np.array_equal(full_matrix(axis), whole)
    assert axis.norm() == pytest.approx(np.linalg.norm(whole, 2), rel=1e-11)
    pixels = np.random.default_rng(2).random((n, 3))
    assert np.abs(axis.apply(pixels, 0) - whole @ pixels).max() < 1e-14


def test_no_change_moves_a_padded_input_further_than_the_scale_says() -> None:
    facts = replace(FACTS, rows=90, columns=150)
    scale = image_scale(facts, None, 64, "pad")
    assert (scale.rows, scale.columns) == (90, 150)
    rng, x = np.random.default_rng(3), np.full((90, 150, 1), 0.5)
    base = model_input(picture(x), 64, "pad").pixels.astype(np.float64)
    matrices = [AxisResize.padded(n, 150, 64).matrix() for n in (90, 150)]
    worst = np.outer(*(np.linalg.svd(matrix)[2][0] for matrix in matrices))[..., None]
    changes = [worst, *rng.standard_normal((20, 90, 150, 1))]
    gains = []
    for change in changes:
        change *= 0.3 / np.abs(change).max()
        moved = model_input(picture(x + change), 64, "pad").pixels - base
        gains.append(np.linalg.norm(moved) / np.linalg.norm(change))
    bound = scale.resize_vertical * scale.resize_horizontal * np.sqrt(3)
    assert max(gains[1:]) < gains[0] < bound * (1 + 1e-6)
    assert gains[0] == pytest.approx(bound, rel=1e-3)


def test_the_scale_of_a_padded_region_is_that_of_the_region() -> None:
    region = Region(x=10, y=20, w=100, h=50)
    found = image_scale(replace(FACTS, rows=400, columns=300), region, 64, "pad")
    assert found == image_scale(replace(FACTS, rows=50, columns=100), None, 64, "pad")


@pytest.mark.parametrize("shape", [(8, 513), (513, 8), (8, 8_000_000)])
def test_a_picture_padded_into_a_line_thinner_than_a_pixel_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(Rejected) as caught:
        image_scale(replace(FACTS, rows=shape[0], columns=shape[1]), None, 64, "pad")
    assert caught.value.code == "image_too_small"
    image_scale(replace(FACTS, rows=8, columns=512), None, 64, "pad")


def test_only_medclip_pads() -> None:
    assert [card.id for card in shipped_backbones().values() if card.fit == "pad"] == ["medclip-vit"]


def test_medclip_normalises_all_channels_alike() -> None:
    card = shipped_backbones()["medclip-vit"]
    assert card.mean == (0.5862785803043838,) * 3
    assert card.std == (0.27950088968644304,) * 3


@pytest.mark.integration
def test_an_upload_for_medclip_is_padded(settings: WorkerSettings) -> None:
    data = encoded(noise(90, 150), "png")
    classifier = ClassifierSpec(backbone="medclip-vit", prompt="template", class_names=("a", "b"), template="{}")
    pixels, facts = decode_limited(
        data, CertifyRequest(classifier=classifier), shipped_backbones()["medclip-vit"], settings
    )
    of_file = decode(data, "png", max_pixels=settings.max_pixels)
    assert pixels.sha256 == model_input(of_file, 224, "pad").sha256
    assert facts.scale == image_scale(of_file.facts, None, 224, "pad")
