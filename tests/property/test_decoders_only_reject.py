"""Whatever the bytes are, decoders answer with a picture in [0, 1] or with a refusal."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.workers.decoders import dicom as dicom_decoder
from certrad.workers.decoders import raster
from certrad.workers.sandbox.child import run_limited
from tests.support.image_seeds import seeds

LIMIT = 300_000
Decoder = Callable[[bytes], DecodedImage]

DECODERS: dict[str, Decoder] = {
    "png": partial(raster.decode, image_format="png", max_pixels=LIMIT),
    "jpeg": partial(raster.decode, image_format="jpeg", max_pixels=LIMIT),
    "tiff": partial(raster.decode, image_format="tiff", max_pixels=LIMIT),
    "dicom": partial(dicom_decoder.decode, frame=1, max_pixels=LIMIT),
}
HEADS = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "tiff": b"II*\x00", "dicom": bytes(128) + b"DICM"}


def count_decoded(decode: Decoder, files: list[bytes]) -> int:
    """Checks that a decoder decodes or rejects each file, and returns how many it decodes.

    In a process of its own, as in the service: one of 2,000 mutated DICOM files crashes GDCM, and so is rejected, with
    those after it. One process takes several files, because forking this large one costs more than decoding them.
    """

    def decoded(data: bytes) -> bool:
        try:
            pixels = decode(data).pixels
        except Rejected:
            return False
        assert np.isfinite(pixels).all()
        assert pixels.min() >= 0
        assert pixels.max() <= 1
        return True

    def decode_all() -> tuple[dict[str, Any], bytes]:
        return {"decoded": sum(map(decoded, files))}, b""

    try:
        answer = run_limited(decode_all, memory_bytes=1 << 30, cpu_seconds=30, max_payload=0, hidden=Path("/nowhere"))
    except Rejected:
        return 0
    return int(answer.header["decoded"])


@st.composite
def mutated_files(draw: st.DrawFn, name: str) -> bytes:
    mutated = bytearray(draw(st.sampled_from(seeds(name))))
    # most of what a decoder believes stands at the beginning
    position = st.one_of(st.integers(0, min(2000, len(mutated)) - 1), st.integers(0, len(mutated) - 1))
    for where, value in draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=8)):
        mutated[where] = value
    keep = draw(st.one_of(st.just(len(mutated)), st.integers(0, len(mutated))))
    return bytes(mutated[:keep])


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tails=st.lists(st.binary(max_size=300), min_size=10, max_size=10))
def test_random_bytes_are_rejected(name: str, tails: list[bytes]) -> None:
    assert count_decoded(DECODERS[name], [*tails, *(HEADS[name] + tail for tail in tails)]) == 0


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_mutated_files_are_decoded_or_rejected(name: str, data: st.DataObject) -> None:
    files = data.draw(st.lists(mutated_files(name), min_size=5, max_size=5))
    assert 0 <= count_decoded(DECODERS[name], files) <= len(files)


@pytest.mark.parametrize("name", DECODERS)
def test_files_that_are_mutated_decode_before(name: str) -> None:
    assert count_decoded(DECODERS[name], seeds(name)) == len(seeds(name))
