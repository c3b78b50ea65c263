"""The prediction set of an image, from its counts and a calibration."""

import math
from collections.abc import Sequence

from certrad.models.prediction_sets.confidence import most_misses
from certrad.models.prediction_sets.ranks import clean_level, clean_quantile, rank_of_misses
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
    level, poisoned = clean_level(asked.beta), card.poisoned_at_most
    rule = SetRule(
        quantiles=tuple(clean_quantile(group, level, poisoned) for group in card.groups), n=card.n, sigma=card.sigma
    )
    thresholds, single = rule.thresholds(n_test, asked.radius), rule.single_up_to(counts, n_test)
    classes = prediction_set(counts, thresholds)
    if len(classes) != 1 or (single is not None and single < asked.radius):
        single = None  # a class that comes in beyond the radius only is no answer to what was asked
    misses = [most_misses(len(group), rank_of_misses(len(group), level, poisoned), DELTA) for group in card.groups]
    return PredictionSetEvidence(
        n=card.n,
        per_class=card.per_class,
        poisoned_at_most=poisoned,
        images=tuple(map(len, card.groups)),
        quantiles=rule.quantiles,
        thresholds=thresholds,
        classes=classes,
        single_up_to=single,
        single_class=None if single is None else classes[0],
        misses_at_most=math.ceil(max(misses) * _MILLIONTHS) / _MILLIONTHS,
    )
