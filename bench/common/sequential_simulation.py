"""Simulation of the samples that SEQ-CERTIFY takes for known class probabilities: the rule alone, no model."""

import statistics
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from certrad.models.smoothing import SequentialDecision, SequentialTest
from certrad.models.smoothing.accuracy import certified_accuracy
from certrad.models.types import LabelCounts, SmoothingParams

LOOK_EVERY: Final = 25
PURE_CASES: Final[tuple[tuple[str, tuple[float, ...], float], ...]] = (
    ("K = 2, p_A = 1", (1.0, 0.0), 1.0),
    ("K = 2, p_A = 0.99", (0.99, 0.01), 1.0),
    ("K = 2, p_A = 0.95", (0.95, 0.05), 1.0),
    ("K = 2, p_A = 0.8", (0.8, 0.2), 1.0),
    ("K = 2, p_A = 0.5", (0.5, 0.5), 1.0),
    ("K = 2, p_A = 0.99", (0.99, 0.01), 2.0),
    ("K = 9, p = (0.95, rest equal)", (0.95, *[0.05 / 8] * 8), 1.0),
    ("K = 9, p = (0.7, 0.1, rest equal)", (0.7, 0.1, *[0.2 / 7] * 7), 0.5),
)
"""Name, true class probabilities, target radius in sigma."""


def pure_table(runs: int, seed: int) -> str:
    """Samples until the rule stops on simulated labels, one row a case; a look every 25 samples, n0 not counted."""
    lines = [
        "| labels | target / sigma | mean samples | 95% quantile | certified at the target |",
        "|---|---|---|---|---|",
    ]
    for name, p, target in tqdm(PURE_CASES):
        params, generator = SmoothingParams(sigma=1.0, target_radius=target), np.random.default_rng(seed)
        found = [simulated(p, params, generator) for _ in range(runs)]
        samples = [used for used, _ in found]
        reached = certified_accuracy([(verdict.outcome, 0) for _, verdict in found], target)
        lines.append(
            f"| {name} | {target:g} | {statistics.mean(samples):.0f} | {np.quantile(samples, 0.95):.0f} "
            f"| {100 * reached:.1f}% |"
        )
    return "\n".join(lines)


def simulated(
    p: Sequence[float], params: SmoothingParams, generator: np.random.Generator, look_every: int = LOOK_EVERY
) -> tuple[int, SequentialDecision]:
    """Returns the number of estimation samples drawn from class probabilities p, and their decision."""
    selection = _counts(generator.multinomial(params.n0, p))
    test, drawn = SequentialTest(params, selection, look_every=look_every), np.zeros(len(p), dtype=np.int64)
    while True:
        drawn += generator.multinomial(min(look_every, params.n - int(drawn.sum())), p)
        if verdict := test.look(_counts(drawn)):
            return int(drawn.sum()), verdict


def _counts(drawn: NDArray[np.int64]) -> LabelCounts:
    return LabelCounts(per_class=tuple(drawn.tolist()))
