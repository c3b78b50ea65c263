"""The prediction set of an image, from its counts and a calibration."""

import math
from collections.abc import Sequence

from certrad.models.prediction_sets.confidence import most_misses
from certrad.models.prediction_sets.ranks import clean_level, rank_of_misses
from certrad.models.prediction_sets.sets import SetRule, prediction_set
from certrad.models.types.calibration import DELTA, CalibrationCard, PredictionSetEvidence, PredictionSetRequest

_MILLIONTHS = 10**6


def find_prediction_set(
    asked: PredictionSetRequest, card: CalibrationCard, counts: Sequence[int], n_test: int
) -> PredictionSetEvidence:
    """Returns the prediction set of an image.

    Args:
        asked: The share of misses and the radius.
        card: The calibration.
        counts: The estimation samples of each class.
        n_test: All estimation samples, invalid ones included.
    """
    rule = SetRule.of_card(card, asked.beta)
    thresholds, single = rule.thresholds(n_test, asked.radius), rule.single_up_to(counts, n_test)
    classes = prediction_set(counts, thresholds)
    if len(classes) != 1 or (single is not None and single < asked.radius):
        single = None  # a class that comes in beyond the radius only is no answer to what was asked
    return PredictionSetEvidence(
        n=card.n,
        per_class=card.per_class,
        poisoned_at_most=card.poisoned_at_most,
        images=tuple(map(len, card.groups)),
        quantiles=rule.quantiles,
        thresholds=thresholds,
        classes=classes,
        single_up_to=single,
        single_class=None if single is None else classes[0],
        misses_at_most=misses_at_most(card, asked.beta),
    )


def misses_at_most(card: CalibrationCard, beta: float) -> float:
    """Returns the bound of the share of misses with this calibration set, rounded up to six decimals.

    With a threshold for each class it is the largest bound of any class, each of which holds by itself.

    Args:
        card: The calibration.
        beta: The share of misses that is promised.
    """
    level = clean_level(beta)
    sizes = [len(group) for group in card.groups]
    misses = [most_misses(size, rank_of_misses(size, level, card.poisoned_at_most), DELTA) for size in sizes]
    return math.ceil(max(misses) * _MILLIONTHS) / _MILLIONTHS
