"""The labelled images of a folder with one folder for each class, for calibrations and their tests."""

from collections import Counter
from pathlib import Path

from certrad.models.images.input_digests import input_digests
from certrad.workers.intake.image_folder import nothing_read, tell_refused
from certrad.workers.offline.set_sampling import SetSampling
from certrad.workers.offline.taken_images import TakenImages, sources_of, taken_images
from certrad.workers.settings import WorkerSettings


def require_distinct(taken: TakenImages) -> list[str]:
    """Returns the digests of the model inputs of images, none of which is there twice.

    Args:
        taken: The images.

    Raises:
        ValueError: Two files show one image, in one folder or in two.
    """
    digests = input_digests(taken.images)
    repeated = sum(count - 1 for count in Counter(digests).values())
    if repeated:
        raise ValueError(f"every image must be there once, in one folder; {repeated} files repeat another one's image")
    return digests


def labelled_images(directory: Path, sampling: SetSampling, settings: WorkerSettings) -> TakenImages:
    """Returns the images of a folder with a folder for each class, and tells of the files that are none.

    Args:
        directory: The folder.
        sampling: Names the task and the backbone.
        settings: Limits of the sandbox.

    Raises:
        ValueError: No file is an image, or the images lie in no folders of classes.
        Rejected: The folders are not those of the classes.
    """
    sources = sources_of([directory], sampling.task, None)
    if not sources:
        raise nothing_read(Counter())
    if any(source.label is None for source in sources):
        raise ValueError("`--images` must hold one folder for each class; the images lie in none")
    taken = taken_images(sources, sampling.request, sampling.card, settings)
    tell_refused(taken.refused)
    return taken
