"""Randomized smoothing: bounds, noise, sampling, and CERTIFY and PREDICT made of them."""

from certrad.models.smoothing.blocks import Blocks, Layout, MemoryBlocks, SharedBlocks
from certrad.models.smoothing.bounds import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    confidence_bounds,
    decide,
    decide_class,
    publish,
    published_bounds,
    radius,
)
from certrad.models.smoothing.certification import Certification, Estimation
from certrad.models.smoothing.certify import certify, estimate, predict, select
from certrad.models.smoothing.noise import Noise, Stream
from certrad.models.smoothing.sampling import LABEL_DTYPE, BaseClassifier, NoisySampler, count, labels
from certrad.models.smoothing.sequential import SequentialDecision, SequentialTest

__all__ = [
    "LABEL_DTYPE",
    "BaseClassifier",
    "Blocks",
    "Certification",
    "Estimation",
    "Layout",
    "MemoryBlocks",
    "Noise",
    "NoisySampler",
    "SequentialDecision",
    "SequentialTest",
    "SharedBlocks",
    "Stream",
    "certify",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "confidence_bounds",
    "count",
    "decide",
    "decide_class",
    "estimate",
    "labels",
    "predict",
    "publish",
    "published_bounds",
    "radius",
    "select",
]
