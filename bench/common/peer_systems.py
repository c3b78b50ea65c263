"""The systems of `bench peers` that run in its own process: the published CERTIFY, and certrad in two ways."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from certrad.bench.common import published_certify
from certrad.bench.common.peer_study import Answer, Stopwatch
from certrad.models.smoothing import certify, decide
from certrad.models.smoothing.certification import Certification
from certrad.models.smoothing.sampling import BaseClassifier
from certrad.models.types import Certificate, Outcome, SmoothingParams

PUBLISHED: Final = "CERTIFY, its authors' loop"
SMALLEST: Final = "CERTIFY, smallest n for the target"
ART: Final = "ART"
FIXED: Final = "certrad, fixed n"
FIXED_COHEN: Final = "certrad, fixed n, bound of CERTIFY"
TARGET: Final = "certrad, target radius"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCertify:
    """The loop of CERTIFY's authors."""

    classifier: BaseClassifier
    batch_size: int

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """See `System`."""
        return {PUBLISHED: self.run(image, params, seed)}

    def run(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> Answer:
        """Returns its answer.

        Args:
            image: (3, H, W), pixels of [0, 1].
            params: The parameters of CERTIFY.
            seed: Of the noise.
        """
        torch.manual_seed(seed)
        watch = Stopwatch()
        class_index, radius = published_certify.certify(
            self.classifier.logits,
            torch.from_numpy(image),
            params,
            n_classes=self.classifier.n_classes,
            batch_size=self.batch_size,
        )
        return _answer(class_index, radius, params.n0 + params.n, watch.read())


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestN:
    """The loop of CERTIFY's authors with the fewest samples that can show a radius, as a user who wants no more takes.

    It shows the radius only where all of them agree.
    """

    loop: PublishedCertify
    target_radius: float

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """See `System`."""
        fewest = smallest_n(self.target_radius / params.sigma, params.alpha)
        return {SMALLEST: self.loop.run(image, replace(params, n=fewest), seed)}


def smallest_n(radius: float, alpha: float) -> int:
    """Returns the fewest samples that show a radius if all agree: alpha^(1/n) >= Phi(radius).

    Args:
        radius: In sigma.
        alpha: Error probability.
    """
    return math.ceil(math.log(alpha) / float(norm.logcdf(radius)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedN:
    """certrad with all n samples; the same counts are also read with the bound of CERTIFY."""

    classifier: BaseClassifier
    batch_size: int

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """See `System`."""
        made, took = _timed(self.classifier, image, params, seed, self.batch_size)
        cohen = decide(made.selection, made.estimation.counts, replace(params, bound="cohen"))
        return {
            FIXED: _told(made.outcome, made.samples_used, took),
            FIXED_COHEN: _told(cohen, made.samples_used, took),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRadius:
    """certrad with a target radius: it stops as soon as that is shown, or cannot be shown."""

    classifier: BaseClassifier
    batch_size: int
    target_radius: float

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """See `System`."""
        wanted = replace(params, target_radius=self.target_radius)
        made, took = _timed(self.classifier, image, wanted, seed, self.batch_size)
        return {TARGET: _told(made.outcome, made.samples_used, took)}


def key_of(seed: int) -> bytes:
    """Returns certrad's noise key of a seed; it is published, so that anyone can draw the same noise.

    Args:
        seed: Of the noise.
    """
    return hashlib.sha256(f"python -m certrad.bench peers {seed}".encode()).digest()


def _timed(
    classifier: BaseClassifier, image: NDArray[np.float32], params: SmoothingParams, seed: int, batch_size: int
) -> tuple[Certification, tuple[float, float]]:
    key, watch = key_of(seed), Stopwatch()
    made = certify(image, classifier, params, key=key, batch_size=batch_size)
    return made, watch.read()


def _told(outcome: Outcome, samples: int, took: tuple[float, float]) -> Answer:
    if isinstance(outcome, Certificate):
        return _answer(outcome.class_index, outcome.radius, samples, took)
    return _answer(None, 0.0, samples, took)


def _answer(class_index: int | None, radius: float, samples: int, took: tuple[float, float]) -> Answer:
    return Answer(class_index=class_index, radius=radius, samples=samples, seconds=took[0], processor_seconds=took[1])
