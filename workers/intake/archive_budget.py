"""What the images of one archive may cost together: pixels and processor seconds, in proportion to the archive."""

import math
import resource
from collections.abc import Callable
from typing import Final

from certrad.models.errors import Rejected
from certrad.workers.intake.decode import cpu_allowance
from certrad.workers.settings import WorkerSettings

_PIXELS_PER_BYTE: Final = 128  # even a JPEG takes more than a sixteenth of a bit for each pixel
_CPU_PER_IMAGE: Final = 0.05  # the header of one, and its share of a process and of reading the archive's directory


def children_cpu_seconds() -> float:
    """Returns the processor seconds of all children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class ArchiveBudget:
    """Counts what the images of one archive cost.

    A small archive can hold many large, blank images: it ends before it costs much more than one image may.

    Attributes:
        pixels: Pixels of the images that were decoded.
        max_pixels: Pixels that all images may have together.
    """

    def __init__(
        self,
        *,
        archive_bytes: int,
        images: int,
        settings: WorkerSettings,
        cpu_clock: Callable[[], float] = children_cpu_seconds,
    ) -> None:
        """Begins with nothing spent.

        Args:
            archive_bytes: Bytes of the archive.
            images: The number of images that are to be decoded.
            settings: The limits of one image and of one archive.
            cpu_clock: Returns the processor seconds that decoding has taken since any moment.
        """
        self._bytes, self._images, self._settings = archive_bytes, images, settings
        self._cpu_clock, self._began = cpu_clock, cpu_clock()
        self.pixels = 0
        self.max_pixels = min(settings.max_archive_pixels, settings.max_pixels + archive_bytes * _PIXELS_PER_BYTE)

    def spend_pixels(self, pixels: int) -> None:
        """Counts the pixels of images that are about to be decoded, or were.

        Args:
            pixels: Their number.

        Raises:
            Rejected: `archive_too_large`, they are more than is left.
        """
        self.pixels += pixels
        if self.pixels > self.max_pixels:
            raise Rejected(
                "archive_too_large",
                f"the {self._images} chosen images must have at most {self.max_pixels} pixels together in an archive "
                f"of {self._bytes} bytes",
            )

    def cpu_seconds(self) -> int:
        """Returns the processor seconds that the next process may use.

        Raises:
            Rejected: `archive_too_large`, those of the whole archive are used up.
        """
        pixels = min(self.pixels + self._settings.max_pixels, self.max_pixels)
        allowed = math.ceil(cpu_allowance(self._bytes, pixels) + self._images * _CPU_PER_IMAGE)
        left = math.ceil(allowed - (self._cpu_clock() - self._began))
        if left < 1:
            raise Rejected(
                "archive_too_large",
                f"the {self._images} chosen images must be decoded in at most {allowed} processor seconds in an "
                f"archive of {self._bytes} bytes",
            )
        return min(left, self._settings.intake_cpu_seconds)
