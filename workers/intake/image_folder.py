"""Reads the images of a folder, decoded as intake decodes uploads; never shows the name of a file."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from certrad.models.datasets.cards import published_labels
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard, CertifyRequest, TaskCard
from certrad.models.types.image import IMAGE_WARNINGS, ImageFacts
from certrad.workers.intake.archive import match_classes
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings

_Value = TypeVar("_Value", bound=np.generic)


def distinct_images(
    directory: Path,
    limit: int | None,
    request: CertifyRequest,
    card: BackboneCard,
    service: WorkerSettings,
    of_input: Callable[[NDArray[np.float32]], NDArray[_Value]],
    on_file: Callable[[], None] = lambda: None,
    on_facts: Callable[[ImageFacts], None] = lambda _: None,
) -> tuple[list[NDArray[_Value]], Counter[str]]:
    """Returns `of_input` of the model inputs of a folder, by name, and why files were left out.

    An image counts once, however many files hold it.

    Args:
        directory: The folder, with those below it.
        limit: Images at most; None for all.
        request: Names the frame and the region, if any.
        card: The backbone, which names the size of the model input.
        service: Limits of the sandbox.
        of_input: Makes an array of a model input.
        on_file: Called after each file.
        on_facts: Called with the facts of each image that counts.

    Raises:
        ValueError: No file is an image; see `nothing_read`.
    """
    found: dict[bytes, NDArray[Any]] = {}
    refused: Counter[str] = Counter()
    for path in visible_files(directory):
        if len(found) == limit:
            break
        try:
            decoded, facts = decode_limited(path.read_bytes(), request, card, service)
        except Rejected as rejected:
            refused[rejected.code] += 1
        else:
            image = of_input(decoded.pixels)
            if image.tobytes() in found:
                refused["same_image"] += 1
            else:
                found[image.tobytes()] = image
                on_facts(facts)
        on_file()
    if not found:
        raise nothing_read(refused)
    return list(found.values()), +refused


def visible_files(directory: Path) -> list[Path]:
    """Returns the files below a folder, by name; hidden ones and what lies in hidden folders are passed over.

    Args:
        directory: The folder.
    """
    return sorted(path for path in directory.rglob("*") if path.is_file() and not _hidden(path.relative_to(directory)))


def visible_folders(directory: Path) -> list[Path]:
    """Returns the folders in a folder, by name; hidden ones are passed over.

    Args:
        directory: The folder.
    """
    return sorted(path for path in directory.iterdir() if path.is_dir() and not _hidden(Path(path.name)))


def files_of_classes(directory: Path, task: TaskCard) -> list[list[Path]]:
    """Returns the files of each class of a task, from a folder with a folder for each, matched as for a tuning.

    Args:
        directory: The folder.
        task: The task.

    Raises:
        Rejected: `too_few_classes` or `class_mismatch`.
    """
    names = [path.name for path in visible_folders(directory)]
    folders = match_classes(names, task.class_names, published_labels(task.id)).folders
    return [visible_files(directory / folder) for folder in folders]


def nothing_read(refused: Counter[str]) -> ValueError:
    """Returns the error for a folder without images, with the reasons.

    Args:
        refused: Reason -> number of files.
    """
    reasons = ", ".join(f"{_files(count)} ({code})" for code, count in sorted((+refused).items()))
    return ValueError(f"at least one file must be an image, got {reasons or 'no file'}")


def tell_refused(refused: Counter[str]) -> None:
    """Writes the number of files left out, by reason, to standard error; never a name, which may be a patient's.

    Args:
        refused: Reason -> number of files.
    """
    for code, files in sorted(refused.items()):
        sys.stderr.write(f"certrad: {_files(files)} left out: {code}\n")


def low_contrast_note(flat: int, images: int) -> str:
    """Returns a line that says how many images the model saw as nearly one grey; nothing if it saw none so.

    Args:
        flat: The number of images with the warning `low_contrast`.
        images: The number of all images that were read.
    """
    return f"low_contrast ({flat} of {images} images): {IMAGE_WARNINGS['low_contrast']}\n" if flat else ""


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _files(count: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'}"
