"""The prediction set of an image, from its counts and a calibration."""

import math
from collections.abc import Sequence

from certrad.models.prediction_sets.confidence import most_misses
from certrad.models.prediction_sets.ranks import clean_level, rank
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
    alone = () if single is None else prediction_set(counts, rule.thresholds(n_test, single))
    return PredictionSetEvidence(
        n=card.n,
        per_class=card.per_class,
        poisoned_at_most=card.poisoned_at_most,
        images=tuple(map(len, card.groups)),
        quantiles=rule.quantiles,
        thresholds=thresholds,
        classes=prediction_set(counts, thresholds),
        single_up_to=single,
        single_class=alone[0] if alone else None,
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
    misses = [most_misses(size, rank(size, level, card.poisoned_at_most), DELTA) for size in sizes]
    return math.ceil(max(misses) * _MILLIONTHS) / _MILLIONTHS
