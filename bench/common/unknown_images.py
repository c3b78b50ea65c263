"""The images of pydicom, pydicom-data and scikit-image's wheel that show no class of the task, and the few that do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from certrad.bench.common.real_images import REAL_IMAGES
from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import model_input
from certrad.models.types import BackboneCard, TaskCard
from certrad.models.types.window import FileWindow
from certrad.workers.decoders import dicom, raster
from certrad.workers.decoders.raster import RasterFormat

MAX_PIXELS: Final = 16_000_000
UNKNOWN: Final = -1
"""In place of the class of an image that shows none."""
_FOLDERS: Final = (("pydicom", "data/test_files"), ("data_store", "data"), ("skimage", "data"))
_RASTER: Final[Mapping[str, RasterFormat]] = {".png": "png", ".jpg": "jpeg", ".tif": "tiff"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """An image as a model input (3, H, W), and the class that it shows; UNKNOWN for none."""

    file: str
    label: int
    pixels: Tensor


def unknown_images(card: BackboneCard, task: TaskCard) -> list[Shown]:
    """Returns the images of a class first, then those of none, each model input once."""
    shown: dict[str, Shown] = {}
    for real in REAL_IMAGES:
        seen = real.seen(card, task)
        label = task.class_names.index(real.truth)
        shown.setdefault(seen.sha256, Shown(file=real.file, label=label, pixels=torch.from_numpy(seen.pixels.copy())))
    for path in files():
        try:
            seen = model_input(decoded(path, task), card.image_size, card.fit)
        except Rejected:
            continue
        image = Shown(file=path.name, label=UNKNOWN, pixels=torch.from_numpy(seen.pixels.copy()))
        shown.setdefault(seen.sha256, image)
    return list(shown.values())


def files() -> Iterator[Path]:
    """Yields the files of the three packages, by name.

    Raises:
        ModuleNotFoundError: A package is not installed.
    """
    for package, folder in _FOLDERS:
        if (spec := find_spec(package)) is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"{package} is missing: install pydicom, pydicom-data and scikit-image")
        root = Path(next(iter(spec.submodule_search_locations))) / folder
        yield from sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def decoded(path: Path, task: TaskCard) -> DecodedImage:
    """Returns the image of a file as the service decodes it, and the first frame of several.

    Raises:
        Rejected: It is no image that the service takes.
    """
    content = path.read_bytes()
    if (kind := _RASTER.get(path.suffix)) is not None:
        return raster.decode(content, kind, max_pixels=MAX_PIXELS)
    window = FileWindow.of_task(task.windows)
    try:
        return dicom.decode(content, max_pixels=MAX_PIXELS, window=window)
    except Rejected:
        return dicom.decode(content, max_pixels=MAX_PIXELS, window=window, frame=1)
