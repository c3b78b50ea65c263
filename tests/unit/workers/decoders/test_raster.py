"""PNG, JPEG and TIFF are decoded by the written rule."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import pixels_sha256
from certrad.models.types import Region
from certrad.workers.decoders.raster import RasterFormat, decode
from tests.support.images import encoded, noise, png_16, png_bomb, saved, tiff_16

LIMIT = 1_000_000


def pixels(data: bytes, image_format: RasterFormat = "png") -> NDArray[np.float64]:
    return decode(data, image_format, max_pixels=LIMIT).pixels


def refusal(data: bytes, image_format: RasterFormat = "png", **options: Any) -> str:
    with pytest.raises(Rejected) as refused:
        decode(data, image_format, **{"max_pixels": LIMIT, **options})
    return refused.value.code


@pytest.mark.parametrize("image_format", ["png", "tiff"])
@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 3)])
def test_8_bits_are_taken_exactly(image_format: RasterFormat, shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    decoded = pixels(encoded(array, image_format), image_format)
    assert np.array_equal(decoded, array.reshape(9, 11, -1) / 255)


def test_jpeg_is_what_pillow_decodes_and_lossy() -> None:
    data = encoded(noise(16, 24, 3), "jpeg", quality=90)
    picture = decode(data, "jpeg", max_pixels=LIMIT)
    assert np.array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(data))) / 255)
    assert picture.facts.lossy
    assert picture.facts.decoder.startswith("pillow ")


@pytest.mark.parametrize("image_format", ["png", "tiff"])
def test_16_bit_grey_is_taken_exactly(image_format: RasterFormat) -> None:
    array = noise(9, 11, dtype="u2")
    picture = decode(encoded(array, image_format), image_format, max_pixels=LIMIT)
    assert np.array_equal(picture.pixels[..., 0], array / 65535)
    assert picture.facts.bits == 16
    assert picture.sha256 == pixels_sha256(array, [{"full_range": [0.0, 65535.0]}])


def test_16_bit_rgb_png_keeps_both_bytes() -> None:
    array = noise(12, 11, 3, dtype="u2")
    assert np.array_equal(pixels(png_16(array)), array / 65535)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_16_bit_rgb_tiff_keeps_both_bytes(order: str, deflate: bool) -> None:
    array = noise(12, 11, 3, dtype="u2")
    assert np.array_equal(pixels(tiff_16(array, order=order, deflate=deflate), "tiff"), array / 65535)


def test_white_is_zero_is_inverted_in_16_bits_too() -> None:
    array = noise(12, 11, dtype="u2")
    decoded = pixels(tiff_16(array, white_is_zero=True), "tiff")
    assert np.array_equal(decoded[..., 0], (65535 - array.astype(np.int64)) / 65535)


def test_opaque_alpha_is_dropped() -> None:
    colour = noise(9, 11, 3)
    opaque = np.full((9, 11, 1), 255, np.uint8)
    assert np.array_equal(pixels(encoded(np.concatenate([colour, opaque], axis=2), "png")), colour / 255)
    grey = np.stack([colour[..., 0], opaque[..., 0]], axis=2)
    assert np.array_equal(pixels(encoded(grey, "png")), colour[..., :1] / 255)


def test_opaque_16_bit_alpha_is_dropped() -> None:
    colour = noise(9, 11, 3, dtype="u2")
    opaque = np.full((9, 11, 1), 65535, np.uint16)
    assert np.array_equal(pixels(png_16(np.concatenate([colour, opaque], axis=2))), colour / 65535)
    opaque[4, 4] = 65534
    assert refusal(png_16(np.concatenate([colour, opaque], axis=2))) == "unsupported_pixels"


def test_one_transparent_pixel_is_refused() -> None:
    array = np.concatenate([noise(9, 11, 3), np.full((9, 11, 1), 255, np.uint8)], axis=2)
    array[4, 4, 3] = 254
    assert refusal(encoded(array, "png")) == "unsupported_pixels"


def test_a_transparent_colour_is_refused_where_it_occurs() -> None:
    array = np.full((9, 11), 100, np.uint8)
    assert refusal(encoded(array, "png", transparency=100)) == "unsupported_pixels"
    assert np.array_equal(pixels(encoded(array, "png", transparency=101))[..., 0], array / 255)


def test_a_palette_becomes_its_colours() -> None:
    image = Image.fromarray(noise(9, 11) % 4).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 255, 0, 128])
    expected = np.asarray(image.convert("RGB")) / 255
    assert np.array_equal(pixels(saved(image, "png")), expected)


def test_1_bit_becomes_grey() -> None:
    array = noise(9, 11) > 127
    assert np.array_equal(pixels(saved(Image.fromarray(array), "png"))[..., 0], array)


@pytest.mark.parametrize(
    ("mode", "image_format"), [("CMYK", "jpeg"), ("CMYK", "tiff"), ("LAB", "tiff"), ("F", "tiff"), ("I", "tiff")]
)
def test_other_pixels_are_refused(mode: str, image_format: RasterFormat) -> None:
    assert refusal(saved(Image.new(mode, (16, 16)), image_format), image_format) == "unsupported_pixels"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stated_orientation_is_applied(orientation: int) -> None:
    array = noise(9, 11)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = array if orientation < 5 else array.T
    turned = [
        upright,
        np.fliplr(array),
        np.flipud(np.fliplr(array)),
        np.flipud(array),
        array.T,
        np.rot90(array, -1),
        np.rot90(array, 2).T,
        np.rot90(array),
    ][orientation - 1]
    formats: tuple[RasterFormat, ...] = ("png", "tiff")
    for image_format in formats:
        picture = decode(encoded(array, image_format, exif=exif), image_format, max_pixels=LIMIT)
        assert np.array_equal(picture.pixels[..., 0], turned / 255)
        assert (picture.facts.rows, picture.facts.columns) == turned.shape
        assert picture.facts.transforms == (() if orientation == 1 else ("orientation",))


def test_an_orientation_that_cannot_be_read_is_refused() -> None:
    cut_off = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    assert refusal(encoded(noise(16, 16), "jpeg", exif=cut_off), "jpeg") == "unreadable_image"


def test_a_region_is_cut_after_decoding() -> None:
    array = noise(20, 30)
    region = Region(x=3, y=4, w=10, h=9)
    picture = decode(encoded(array, "png"), "png", max_pixels=LIMIT, region=region)
    assert np.array_equal(picture.pixels[..., 0], array[4:13, 3:13] / 255)
    assert (picture.facts.rows, picture.facts.columns) == (20, 30)
    assert picture.sha256 == decode(encoded(array[4:13, 3:13], "png"), "png", max_pixels=LIMIT).sha256


def test_the_same_pixels_have_the_same_digest_in_any_file() -> None:
    array = noise(9, 11)
    png = decode(encoded(array, "png"), "png", max_pixels=LIMIT)
    tiff = decode(encoded(array, "tiff", compression="tiff_lzw"), "tiff", max_pixels=LIMIT)
    assert png.sha256 == tiff.sha256


def test_a_bomb_is_refused_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: ImageFile.ImageFile) -> None:
        raise AssertionError("pixels were decoded")

    bomb = png_bomb(12_000)
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert len(bomb) < 40_000
    assert refusal(bomb) == "image_too_large"
    assert refusal(bomb, max_pixels=100_000_000) == "image_too_large"


def test_pixels_up_to_the_limit_are_decoded_whatever_pillow_thinks() -> None:
    side = 9_500  # Pillow warns above 89 million pixels
    assert decode(png_bomb(side), "png", max_pixels=side * side, region=Region(x=0, y=0, w=8, h=8)).facts.rows == side


def test_several_pictures_are_refused() -> None:
    pictures = [Image.fromarray(noise(16, 16, seed=seed)) for seed in range(2)]
    animated = saved(pictures[0], "png", save_all=True, append_images=pictures[1:])
    pages = saved(pictures[0], "tiff", save_all=True, append_images=pictures[1:])
    photographs = saved(pictures[0], "mpo", save_all=True, append_images=pictures[1:])
    assert refusal(animated) == "animated_image"
    assert refusal(pages, "tiff") == "animated_image"
    assert refusal(photographs, "jpeg") == "animated_image"


@pytest.mark.parametrize("image_format", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_unreadable(image_format: RasterFormat, keep: float) -> None:
    data = encoded(noise(64, 64, 3), image_format)
    assert refusal(data[: int(len(data) * keep)], image_format) == "unreadable_image"


def test_a_tiny_picture_is_refused() -> None:
    assert refusal(encoded(noise(7, 100), "png")) == "image_too_small"


def test_only_the_named_format_is_tried() -> None:
    assert refusal(encoded(noise(16, 16), "png"), "tiff") == "unreadable_image"


@pytest.mark.parametrize(
    ("data", "image_format", "levels"),
    [
        (encoded(noise(9, 11), "png"), "png", 255),
        (encoded(noise(9, 11, 3), "jpeg"), "jpeg", 255),
        (encoded(noise(9, 11, dtype="u2"), "png"), "png", 65535),
        (png_16(noise(9, 11, 3, dtype="u2")), "png", 65535),
        (tiff_16(noise(9, 11, dtype="u2"), white_is_zero=True), "tiff", 65535),
    ],
)
def test_the_unit_is_a_grey_level_of_all_the_bits(data: bytes, image_format: RasterFormat, levels: int) -> None:
    facts = decode(data, image_format, max_pixels=LIMIT).facts
    assert facts.unit == "grey level"
    assert facts.slope == pytest.approx(1 / levels, rel=1e-9)
    assert (1 << facts.bits) - 1 == levels


def test_a_palette_is_told() -> None:
    assert decode(encoded(noise(9, 11), "png", "P"), "png", max_pixels=LIMIT).facts.transforms == ("palette",)
    assert decode(encoded(noise(9, 11), "png"), "png", max_pixels=LIMIT).facts.transforms == ()
