"""The extra class of a bank: its name, which no other class may have, and its place behind the known ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from certrad.models.errors import Rejected

UNLIKE: Final = "unlike the images this model was tuned on"
"""The name of the extra class. It is a class like any other: no abstention, and no finding about a patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionCard:
    """What the card of a bank says about its extra class.

    Attributes:
        sha256: SHA-256 of the tensors of the extra class.
        false_rejections: The share e of single noisy samples of known images that were to get the extra class.
        outliers_sha256: SHA-256 of the generated images that it learned from.
        outliers: Number of these images.
        sigma_range: The smallest and the largest sigma that its threshold was set at.
        measured: For each sigma, the share e that was measured on images of the classes that are no shots, with its
            exact 99% interval, and the share of noisy outliers that get the extra class.
    """

    sha256: str
    false_rejections: float
    outliers_sha256: str
    outliers: int
    sigma_range: tuple[float, float]
    measured: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.false_rejections <= 0.05:
            raise ValueError(f"false_rejections must be in (0, 0.05], got {self.false_rejections!r}")

    def require(self, sigma: float) -> None:
        """Checks that the threshold was set for a sigma.

        Args:
            sigma: Standard deviation of the noise, in pixels of [0, 1].

        Raises:
            Rejected: sigma_not_tuned, if it was not.
        """
        require_tuned(sigma, *self.sigma_range)


def require_tuned(sigma: float, low: float, high: float) -> None:
    """Checks that an extra class was tuned for a sigma.

    Args:
        sigma: Standard deviation of the noise, in pixels of [0, 1].
        low: The smallest sigma that its threshold was set at.
        high: The largest one.

    Raises:
        Rejected: sigma_not_tuned, if it was not.
    """
    if not low <= sigma <= high:
        raise Rejected("sigma_not_tuned", f"the extra class of the bank was tuned for {low}..{high}, got {sigma}")


def with_unlike(class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of all answers of a bank with an extra class: the known classes in order, then `UNLIKE`.

    Args:
        class_names: The names of the known classes.
    """
    return *class_names, UNLIKE


def rejection_index(class_names: Sequence[str]) -> int | None:
    """Returns the place of the extra class among the names of all answers; None where there is none.

    Args:
        class_names: The names of all answers, in order.
    """
    return len(class_names) - 1 if class_names and class_names[-1] == UNLIKE else None


def known_classes(class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the known classes, in order.

    Args:
        class_names: The names of all answers, in order.
    """
    return tuple(class_names[: rejection_index(class_names)])


def check_unlike(class_names: Sequence[str], has_rejection: bool) -> None:
    """Checks that the extra class is named last where a bank has one, and nowhere else.

    Args:
        class_names: The names of all answers, in order.
        has_rejection: Whether the classifier has an extra class.

    Raises:
        ValueError: It is missing, or a class has its name.
    """
    if (rejection_index(class_names) is not None) != has_rejection or UNLIKE in class_names[:-1]:
        raise ValueError(f"{UNLIKE!r} must be the last class of a bank with an extra class, and no other class")
