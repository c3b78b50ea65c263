"""The systems of `bench peers` that run in its own process: the published CERTIFY, and certrad in two ways."""

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.bench.common import published_certify
from certrad.bench.common.peer_study import Answer
from certrad.models.smoothing import certify, decide
from certrad.models.smoothing.certification import Certification
from certrad.models.smoothing.sampling import BaseClassifier
from certrad.models.types import Certificate, Outcome, SmoothingParams

PUBLISHED: Final = "CERTIFY, its authors' loop"
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
        torch.manual_seed(seed)
        began = time.perf_counter()
        class_index, radius = published_certify.certify(
            self.classifier.logits,
            torch.from_numpy(image),
            params,
            n_classes=self.classifier.n_classes,
            batch_size=self.batch_size,
        )
        seconds = time.perf_counter() - began
        return {
            PUBLISHED: Answer(class_index=class_index, radius=radius, samples=params.n0 + params.n, seconds=seconds)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedN:
    """certrad with all n samples; the same counts are also read with the bound of CERTIFY."""

    classifier: BaseClassifier
    batch_size: int

    def certify(self, image: NDArray[np.float32], params: SmoothingParams, seed: int) -> dict[str, Answer]:
        """See `System`."""
        made, seconds = _timed(self.classifier, image, params, seed, self.batch_size)
        cohen = decide(made.selection, made.estimation.counts, replace(params, bound="cohen"))
        return {
            FIXED: _answer(made.outcome, made.samples_used, seconds),
            FIXED_COHEN: _answer(cohen, made.samples_used, seconds),
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
        made, seconds = _timed(self.classifier, image, wanted, seed, self.batch_size)
        return {TARGET: _answer(made.outcome, made.samples_used, seconds)}


def key_of(seed: int) -> bytes:
    """Returns certrad's noise key of a seed; it is published, so that anyone can draw the same noise.

    Args:
        seed: Of the noise.
    """
    return hashlib.sha256(f"python -m certrad.bench peers {seed}".encode()).digest()


def _timed(
    classifier: BaseClassifier, image: NDArray[np.float32], params: SmoothingParams, seed: int, batch_size: int
) -> tuple[Certification, float]:
    key = key_of(seed)
    began = time.perf_counter()
    made = certify(image, classifier, params, key=key, batch_size=batch_size)
    return made, time.perf_counter() - began


def _answer(outcome: Outcome, samples: int, seconds: float) -> Answer:
    if isinstance(outcome, Certificate):
        return Answer(class_index=outcome.class_index, radius=outcome.radius, samples=samples, seconds=seconds)
    return Answer(class_index=None, radius=0.0, samples=samples, seconds=seconds)
