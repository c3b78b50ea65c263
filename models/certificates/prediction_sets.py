"""What a document and a result say about a prediction set: their claim, and its words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from certrad.models.types.calibration import DELTA, PredictionSetEvidence, PredictionSetRequest, PredictionSetResult

_LIMITS: Final = (
    "This is a mean over images, and not about this one alone. It does not hold for images of another site, scanner, "
    "protocol or time than those of the calibration, for images of no listed class, or for whoever sends many altered "
    "copies, or asks many times, and keeps one answer. The labels are those of the calibration."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPredictionSet:
    """A list of classes that misses the correct one at most as often as promised, on images like the calibration's.

    Attributes:
        calibration: Id of the calibration.
        calibration_sha256: SHA-256 of its file.
        beta: The share of misses that is promised.
        radius: L2 norm of the changes of the model input that the set allows for.
        n: See `PredictionSetEvidence`, as all that follow.
        per_class: See `PredictionSetEvidence`.
        poisoned_at_most: See `PredictionSetEvidence`.
        images: See `PredictionSetEvidence`.
        quantiles: See `PredictionSetEvidence`.
        thresholds: See `PredictionSetEvidence`.
        classes: See `PredictionSetEvidence`.
        single_up_to: See `PredictionSetEvidence`.
        single_class: See `PredictionSetEvidence`.
        misses_at_most: See `PredictionSetEvidence`.
        delta: Probability that the calibration set is a worse one.
        text: The claim in words.
    """

    calibration: str
    calibration_sha256: str
    beta: float
    radius: float
    n: int
    per_class: bool
    poisoned_at_most: int
    images: tuple[int, ...]
    quantiles: tuple[int, ...]
    thresholds: tuple[int, ...]
    classes: tuple[int, ...]
    single_up_to: float | None
    single_class: int | None
    misses_at_most: float
    delta: float
    text: str

    @property
    def request(self) -> PredictionSetRequest:
        """Returns what was asked for.

        Raises:
            ValueError: Such a request cannot be made.
        """
        return PredictionSetRequest(
            calibration=self.calibration, sha256=self.calibration_sha256, beta=self.beta, radius=self.radius
        )


def state_prediction_set(
    asked: PredictionSetRequest, found: PredictionSetEvidence, class_names: Sequence[str]
) -> StatedPredictionSet:
    """Returns what a document states about a prediction set.

    Args:
        asked: What was asked for.
        found: The set.
        class_names: The names of the classes, in order.
    """
    return StatedPredictionSet(
        calibration=asked.calibration,
        calibration_sha256=asked.sha256,
        beta=asked.beta,
        radius=asked.radius,
        **asdict(found),
        delta=DELTA,
        text=prediction_set_text(asked, found, class_names),
    )


def prediction_set_result(stated: StatedPredictionSet, class_names: Sequence[str]) -> PredictionSetResult:
    """Returns what the result of a job says about a prediction set.

    Args:
        stated: The claim.
        class_names: The names of the classes, in order.
    """
    return PredictionSetResult(
        calibration=stated.calibration,
        beta=stated.beta,
        radius=stated.radius,
        classes=stated.classes,
        labels=tuple(class_names[index] for index in stated.classes),
        thresholds=stated.thresholds,
        single_up_to=stated.single_up_to,
        single_label=None if stated.single_class is None else class_names[stated.single_class],
        misses_at_most=stated.misses_at_most,
        delta=stated.delta,
        text=stated.text,
    )


def prediction_set_text(
    asked: PredictionSetRequest, found: PredictionSetEvidence | StatedPredictionSet, class_names: Sequence[str]
) -> str:
    """Returns the claim about a prediction set in words.

    Args:
        asked: What was asked for.
        found: The set.
        class_names: The names of the classes, in order.
    """
    altered = (
        f", also when somebody has altered the model input by an L2 norm of at most {asked.radius!r} before it was sent"
        if asked.radius
        else ""
    )
    of = "images of each class" if found.per_class else "images"
    of_any = " among the images of any one class" if found.per_class else ""
    names = ", ".join(class_names[index] for index in found.classes)
    holds = {
        0: (
            "Here the list is empty, 'unlike the calibration images': no class reaches its threshold. "
            f"At most {_of_100(asked.beta)} of 100 images like those of the calibration get an empty list."
        ),
        1: f"Here the list holds only: {names}.",
    }.get(len(found.classes), f"Here the list holds: {names}.")
    single = (
        f" One class alone, {class_names[found.single_class]}, is listed up to an altered L2 norm of "
        f"{found.single_up_to!r}."
        if found.single_class is not None
        else ""
    )
    return (
        f"On images like those of the calibration {asked.calibration}, a list made in this way misses the correct "
        f"class in at most {_of_100(asked.beta)} of 100 {of}{altered}. {holds}{single} For this one calibration set, "
        f"the share is at most {_of_100(found.misses_at_most)} of 100{of_any}, with confidence {1 - DELTA:g}. {_LIMITS}"
    )


def _of_100(share: float) -> str:
    return f"{100 * share:g}"
