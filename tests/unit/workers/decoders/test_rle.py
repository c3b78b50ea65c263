"""RLE is decoded by pydicom itself: the pixels are those of the same image stored without compression."""

import io

import pydicom
import pytest
from pydicom.uid import RLELossless

from certrad.workers.decoders.dicom import decode
from certrad.workers.decoders.transfer_syntaxes import TRANSFER_SYNTAXES
from tests.support.images import dicom, noise

LIMIT = 1_000_000


def rle(plain: bytes) -> bytes:
    """The same file with its pixels in RLE."""
    dataset = pydicom.dcmread(io.BytesIO(plain))
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    with io.BytesIO() as file:
        dataset.save_as(file)
        return file.getvalue()


def half_flat(*shape: int, dtype: str) -> bytes:
    """A file with long runs and with none."""
    pixels = noise(*shape, dtype=dtype)
    pixels[..., : shape[1] // 2, :] = 7
    return dicom(pixels)


@pytest.mark.parametrize(
    ("shape", "dtype", "frame"),
    [
        ((300, 301), "u1", None),
        ((300, 301), "u2", None),
        ((300, 301), "i2", None),
        ((300, 301, 3), "u1", None),
        ((300, 301, 3), "u2", None),
        ((2, 30, 31), "u2", 2),
    ],
)
def test_pixels_are_those_of_the_uncompressed_image(shape: tuple[int, ...], dtype: str, frame: int | None) -> None:
    plain = half_flat(*shape, dtype=dtype)
    encoded, stored = (decode(data, max_pixels=LIMIT, frame=frame) for data in (rle(plain), plain))
    assert encoded.sha256 == stored.sha256
    assert (encoded.pixels == stored.pixels).all()
    assert encoded.facts.decoder == f"pydicom {pydicom.__version__}"


def test_no_other_decoder_is_asked_for() -> None:
    assert TRANSFER_SYNTAXES[RLELossless].plugin == "pydicom"
