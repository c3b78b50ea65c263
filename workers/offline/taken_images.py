"""The images that a command takes: of files or of a folder, decoded as intake decodes uploads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard, CertifyRequest, TaskCard
from certrad.workers.intake.decode import decode_limited
from certrad.workers.intake.image_folder import files_of_classes, nothing_read, visible_files, visible_folders
from certrad.workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One image file.

    Attributes:
        path: The file.
        label: Index of the class whose folder it lies in, None without such folders.
    """

    path: Path
    label: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TakenImages:
    """The sources that are images, and their model inputs (N, 3, S, S).

    Attributes:
        flat: How many of them are nearly one grey.
        refused: Why the others were left out, with the number of files.
    """

    sources: list[Source]
    images: Tensor
    flat: int
    refused: Counter[str]


def sources_of(paths: Sequence[Path], task: TaskCard, limit: int | None) -> list[Source]:
    """Returns the given files, or those of a folder by name; with a folder for each class, the first `limit` of each.

    Args:
        paths: Files, or one folder.
        task: The task, whose classes the folders are.
        limit: Images at most, of each class if there are folders; None for all.

    Raises:
        Rejected: The folders are not those of the classes.
    """
    if all(path.is_file() for path in paths):
        return [Source(path=path, label=None) for path in paths[:limit]]
    if not visible_folders(paths[0]):
        return [Source(path=path, label=None) for path in visible_files(paths[0])[:limit]]
    return [
        Source(path=path, label=label)
        for label, files in enumerate(files_of_classes(paths[0], task))
        for path in files[:limit]
    ]


def taken_images(
    sources: Sequence[Source], request: CertifyRequest, card: BackboneCard, service: WorkerSettings
) -> TakenImages:
    """Returns the images among the sources.

    Args:
        sources: The files.
        request: Names the frame, the region and the window.
        card: The backbone, which names the size of the model input.
        service: Limits of the sandbox.

    Raises:
        ValueError: None is an image.
    """
    taken: list[Source] = []
    images: list[Tensor] = []
    flat = 0
    refused: Counter[str] = Counter()
    for source in sources:
        try:
            decoded, facts = decode_limited(source.path.read_bytes(), request, card, service)
        except Rejected as rejected:
            refused[rejected.code] += 1
            continue
        taken.append(source)
        flat += "low_contrast" in facts.warnings
        images.append(torch.from_numpy(decoded.pixels.copy()))
    if not images:
        raise nothing_read(refused)
    return TakenImages(sources=taken, images=torch.stack(images), flat=flat, refused=refused)
