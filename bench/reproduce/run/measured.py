"""What one method reached on the test images at one sigma."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The results of one method on the test images at one sigma, in the order of the images.

    radii: of the certificate of the true class; None where another class, or nothing, is certified.
    """

    sigma: float
    clean: tuple[bool, ...]
    noisy: tuple[float, ...]
    radii: tuple[float | None, ...]
    digest: str

    def hits(self, radius: float) -> tuple[bool, ...]:
        """Returns whether each image is certified for its true class at that radius or beyond."""
        return tuple(found is not None and found >= radius for found in self.radii)
