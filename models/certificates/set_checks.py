"""Compares what a document claims about a prediction set with what follows from its counts and its calibration.

Each check returns what it found, or raises ValueError with the reason of a refusal.
"""

import math
from collections.abc import Callable, Collection
from fractions import Fraction

from certrad.models.certificates.calibration_card import read_calibration
from certrad.models.certificates.exact_thresholds import Transfer, may_be_threshold, shows_misses
from certrad.models.certificates.prediction_sets import StatedPredictionSet, prediction_set_text
from certrad.models.certificates.statement import Statement
from certrad.models.prediction_sets.ranks import clean_level, clean_quantile, rank, rank_of_misses
from certrad.models.types.calibration import DELTA, SET_STEPS_PER_UNIT, InstalledCalibration

_STEP_TIE = 1e-9
_SAMPLES_OF_A_LOST_COUNT = 1000
"""A threshold is smaller than the largest one by one count at most, and by one more for so many samples."""


def prediction_set(statement: Statement, claim: StatedPredictionSet) -> str:
    """Checks that the set follows from the counts and from the quantiles that it states.

    A smaller threshold than the largest one makes a larger set, which is a true claim too.

    Args:
        statement: The document.
        claim: Its claim about a prediction set.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    request, counts = statement.request, statement.estimation.per_class
    ranks = _ranks(claim, len(counts))
    for index, (quantile, place) in enumerate(zip(claim.quantiles, ranks, strict=True)):
        if not 0 <= quantile <= claim.n or (not place and quantile):
            raise ValueError(f"class {index} has too few calibration images for the quantile {quantile}")
    thresholds = dict(zip(claim.quantiles, claim.thresholds, strict=True))
    if any(thresholds[quantile] != each for quantile, each in zip(claim.quantiles, claim.thresholds, strict=True)):
        raise ValueError("one quantile must have one threshold")
    for quantile, threshold in thresholds.items():
        if not may_be_threshold(threshold, _transfer(statement, claim, quantile, claim.radius)):
            raise ValueError(f"{threshold} samples are too many for the quantile {quantile}")
    reached = tuple(index for index, count in enumerate(counts) if count >= claim.thresholds[index])
    if claim.classes != reached:
        raise ValueError(f"the classes that reach their thresholds are {list(reached)}, got {list(claim.classes)}")
    _check_single(statement, claim)
    if claim.delta != DELTA or not _shows_misses(claim):
        raise ValueError(f"misses_at_most does not follow from the number of images with delta = {DELTA}")
    if request.prediction_set is None or claim.text != prediction_set_text(
        request.prediction_set, claim, statement.classifier.class_names
    ):
        raise ValueError("the text is not that of the claim")
    return f"{len(reached)} classes reach their thresholds"


def calibration(statement: Statement, claim: StatedPredictionSet, installed: InstalledCalibration) -> str:
    """Checks that the quantiles are those of a calibration, and that it is of this classifier and this noise.

    Args:
        statement: The document.
        claim: Its claim about a prediction set.
        installed: The calibration.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    card, level = installed.card, clean_level(claim.beta)
    if (claim.calibration, claim.calibration_sha256) != (installed.id, installed.sha256):
        raise ValueError(f"the calibration must be {claim.calibration}, got {installed.id}")
    if (card.classifier_sha256, card.law, card.sigma, card.class_names) != (
        statement.noise.classifier_sha256,
        statement.noise.law,
        statement.params.sigma,
        statement.classifier.class_names,
    ):
        raise ValueError("the calibration is of another classifier, noise law, sigma or list of classes")
    stated = (claim.n, claim.per_class, claim.poisoned_at_most, claim.images, claim.quantiles)
    quantiles = tuple(clean_quantile(group, level, card.poisoned_at_most) for group in card.groups)
    if stated != (card.n, card.per_class, card.poisoned_at_most, tuple(map(len, card.groups)), quantiles):
        raise ValueError("n, numbers of images or quantiles are not those of the calibration")
    return "the quantiles are those of the calibration, which is of this classifier and this noise"


def calibration_file(
    statement: Statement, claim: StatedPredictionSet, content: bytes, public_keys: Collection[str] | None
) -> str:
    """Checks a prediction set against the file of its calibration.

    Args:
        statement: The document.
        claim: Its claim about a prediction set.
        content: The file.
        public_keys: The keys of the issuer; None where they are not known.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    installed = read_calibration(content)
    holder = installed.card.signature.public_key if installed.card.signature else None
    if public_keys is not None and holder not in public_keys:
        raise ValueError("the calibration is signed with a key that the issuer does not name")
    return calibration(statement, claim, installed)


def require_issued(
    statement: Statement, calibrations: Callable[[str], InstalledCalibration | None], public_keys: Collection[str]
) -> None:
    """Refuses a prediction set that does not follow from the calibration that it names.

    What was published beside the signed file of the calibration has no part in it.

    Args:
        statement: The document.
        calibrations: Returns the calibration of an id; None where it is not known.
        public_keys: The keys of this installation that are not revoked; one of them must have signed the calibration.

    Raises:
        ValueError: It is such a set, or the calibration is not known any more.
    """
    if (claim := statement.prediction_set) is None:
        return
    if (installed := calibrations(claim.calibration)) is None:
        raise ValueError(f"the calibration {claim.calibration} is not published any more")
    calibration_file(statement, claim, installed.document.encode(), public_keys)


def _ranks(claim: StatedPredictionSet, n_classes: int) -> list[int]:
    if {len(claim.images), len(claim.quantiles), len(claim.thresholds)} != {n_classes}:
        raise ValueError(f"images, quantiles and thresholds must be of {n_classes} classes")
    if not claim.per_class and len(set(zip(claim.images, claim.quantiles, claim.thresholds, strict=True))) != 1:
        raise ValueError("classes that were calibrated together must have one threshold")
    return [rank(images, clean_level(claim.beta), claim.poisoned_at_most) for images in claim.images]


def _transfer(statement: Statement, claim: StatedPredictionSet, quantile: int, radius: float) -> Transfer:
    return Transfer(
        quantile=quantile,
        n=claim.n,
        n_test=sum(statement.estimation.per_class) + statement.estimation.invalid,
        ratio=Fraction(repr(radius)) / Fraction(repr(statement.params.sigma)),
    )


def _check_single(statement: Statement, claim: StatedPredictionSet) -> None:
    """Checks that one class alone is in at the radius that was asked for, and up to the one that is stated."""
    if (claim.single_up_to is None) != (claim.single_class is None):
        raise ValueError("single_up_to and single_class must be given together")
    if claim.single_up_to is None or claim.single_class is None:
        return
    steps = claim.single_up_to * SET_STEPS_PER_UNIT
    if claim.classes != (claim.single_class,) or claim.single_up_to < claim.radius:
        raise ValueError("single_class must be the only class of the set, and single_up_to at least its radius")
    if abs(steps - round(steps)) >= _STEP_TIE:
        raise ValueError(f"single_up_to must be a multiple of 0.01, got {claim.single_up_to}")
    for index, (count, quantile) in enumerate(zip(statement.estimation.per_class, claim.quantiles, strict=True)):
        transfer = _transfer(statement, claim, quantile, claim.single_up_to)
        if index == claim.single_class:
            if may_be_threshold(count + 1 + grid_loss(transfer.n_test), transfer):
                raise ValueError(f"at single_up_to = {claim.single_up_to} the set does not hold class {index}")
        elif not may_be_threshold(count + 1, transfer):
            raise ValueError(f"at single_up_to = {claim.single_up_to} the set holds another class: {index}")


def grid_loss(n_test: int) -> int:
    """Returns by how many counts a threshold may be smaller than the largest one.

    Args:
        n_test: Samples of the image that gets the set.
    """
    return 1 + n_test // _SAMPLES_OF_A_LOST_COUNT


def _shows_misses(claim: StatedPredictionSet) -> bool:
    level = clean_level(claim.beta)
    ranks = {images: rank_of_misses(images, level, claim.poisoned_at_most) for images in claim.images}
    groups = [(images, place) for images, place in ranks.items() if place]
    if not groups:
        return claim.misses_at_most == 0
    if not math.isclose(claim.misses_at_most, round(claim.misses_at_most, 6), abs_tol=1e-12):
        return False
    return all(shows_misses(*group, claim.delta, claim.misses_at_most) for group in groups)
