"""What fault tests share: an image, and its counts recomputed without the service."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tests.support.offline import Offline
from tests.support.processes import Processes


@pytest.fixture(scope="session")
def image() -> bytes:
    """A PNG that noise moves between classes, so that every block has counts of its own."""
    ramp = np.linspace(0, 255, 64)
    pixels = (ramp[:, None] + ramp[None, :]) / 2
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def offline(image: bytes) -> Offline:
    """Recomputes certificates of the image from their documents."""
    return Offline(image)


@pytest.fixture(scope="module")
def module_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts real processes for all the tests of a module."""
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield processes
