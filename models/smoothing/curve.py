"""The certified radius against the number of estimation samples, from the labels in index order."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.smoothing.bounds import publish, published_bounds
from certrad.models.smoothing.sampling import LABEL_DTYPE, count
from certrad.models.smoothing.sequential import SequentialTest
from certrad.models.types import AlphaSplit, Certificate, LabelCounts, Outcome, SmoothingParams
from certrad.models.types.evidence import Evidence, RoutedEvidence
from certrad.models.types.figures import CURVE_NOTES, CurvePoint, RadiusCurve, Validity

_POINTS: Final = 40
_FIRST: Final = 10


def radius_curve(evidence: Evidence, params: SmoothingParams, class_names: Sequence[str]) -> RadiusCurve | None:
    """Returns the bounds after about 40 numbers of samples; the last point has the numbers of the certificate.

    At a fixed n a point is what a run planned with so many samples would have shown: each is valid alone. With a target
    radius it is what the confidence sequences had shown at the last look before: all are valid together.

    Args:
        evidence: The labels, and the outcome that follows from them.
        params: The parameters of CERTIFY.
        class_names: The names of the classes, in order.

    Returns:
        The curve; None where no class was selected, and for an automatic sigma, whose radius rests on several runs of
        samples.
    """
    class_index = evidence.selection.top
    if class_index is None or isinstance(evidence, RoutedEvidence):
        return None
    labels = np.frombuffer(evidence.labels, LABEL_DTYPE)
    every = evidence.decision.look_every
    valid: Validity = "alone" if every is None else "together"
    points = _fixed(labels, evidence, class_index) if every is None else _sequential(labels, evidence, params, every)
    return RadiusCurve(
        class_index=class_index,
        label=class_names[class_index],
        valid=valid,
        points=(*points, _point(len(labels), evidence.outcome)),
        note=CURVE_NOTES[valid],
    )


def bounds_now(class_index: int, counts: LabelCounts, split: AlphaSplit, sigma: float) -> Outcome:
    """Returns what a run planned with so many samples would claim from these counts.

    Args:
        class_index: The class that the selection samples chose.
        counts: Counts of the estimation samples so far, at least one.
        split: The shares of alpha at a fixed n.
        sigma: Noise standard deviation in pixels of [0, 1].
    """
    top, runner_up = counts.per_class[class_index], counts.runner_up(class_index)
    return publish(class_index, *published_bounds(top, runner_up, counts.total, split), sigma)


def _fixed(labels: NDArray[np.uint16], evidence: Evidence, class_index: int) -> list[CurvePoint]:
    n_classes, split, sigma = len(evidence.selection.per_class), evidence.alpha_split, evidence.sigma
    return [
        _point(n, bounds_now(class_index, count(labels[:n], n_classes), split, sigma))
        for n in _spread(_FIRST, len(labels))
    ]


def _sequential(
    labels: NDArray[np.uint16], evidence: Evidence, params: SmoothingParams, every: int
) -> list[CurvePoint]:
    """Returns what the test had shown at some of its looks before the last; it makes every look again."""
    n_classes = len(evidence.selection.per_class)
    looks = range(every, len(labels), every)
    chosen = set(_spread(1, len(looks) + 1))
    test, points = SequentialTest(params, evidence.selection, look_every=every), []
    seen = np.zeros(n_classes + 1, dtype=np.int64)
    for place, n in enumerate(looks, 1):
        seen += np.bincount(labels[n - every : n], minlength=n_classes + 1)
        *per_class, invalid = seen.tolist()
        test.look(LabelCounts(per_class=tuple(per_class), invalid=invalid))
        if place in chosen and (shown := test.shown) is not None:
            points.append(_point(n, shown))
    return points


def _spread(first: int, end: int) -> list[int]:
    """Returns about 40 whole numbers of [first, end), ascending, in a geometric progression where they are apart."""
    if first >= end:
        return []
    return sorted({n for n in np.rint(np.geomspace(first, end, _POINTS)).astype(int).tolist() if n < end})


def _point(samples: int, outcome: Outcome) -> CurvePoint:
    return CurvePoint(
        samples=samples,
        p_a_lower=outcome.p_a_lower,
        p_b_upper=outcome.p_b_upper,
        radius=outcome.radius if isinstance(outcome, Certificate) else None,
    )
