"""A folder of pictures as a model sees them, decoded as intake decodes uploads; no name of a file is told."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import Rejected
from models.types import CertifyRequest
from workers.decoding import decode_limited
from workers.settings import WorkerSettings

_Value = TypeVar("_Value", bound=np.generic)


def distinct_pictures(
    directory: Path,
    limit: int | None,
    request: CertifyRequest,
    service: WorkerSettings,
    of_input: Callable[[NDArray[np.float32]], NDArray[_Value]],
    on_file: Callable[[], None] = lambda: None,
) -> tuple[list[NDArray[_Value]], Counter[str]]:
    """What `of_input` makes of the model inputs of a folder, in the order of the names; and why files were left out.

    limit: pictures at most. A picture counts once, however many files hold it. on_file: called after each file.
    Raises ValueError where no file is an image.
    """
    found: dict[bytes, NDArray[Any]] = {}
    refused: Counter[str] = Counter()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if len(found) == limit:
            break
        try:
            decoded, _ = decode_limited(path.read_bytes(), request, service)
        except Rejected as rejected:
            refused[rejected.code] += 1
        else:
            picture = of_input(decoded.pixels)
            refused["same_picture"] += picture.tobytes() in found
            found[picture.tobytes()] = picture
        on_file()
    if not found:
        raise nothing_read(refused)
    return list(found.values()), +refused


def nothing_read(refused: Counter[str]) -> ValueError:
    """The error for files of which none is an image, with why."""
    reasons = ", ".join(f"{_files(count)} ({code})" for code, count in sorted((+refused).items()))
    return ValueError(f"an image is expected, got {reasons or 'no file'}")


def tell_refused(refused: Counter[str]) -> None:
    """What was left out, by reason, on standard error; a file's name may be a patient's."""
    for code, files in sorted(refused.items()):
        sys.stderr.write(f"certrad: {_files(files)} left out: {code}\n")


def _files(count: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'}"
