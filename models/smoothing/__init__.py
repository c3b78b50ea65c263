"""Randomized smoothing: bounds, noise, sampling, and CERTIFY and PREDICT made of them."""

from models.smoothing.bounds import (
    certified_accuracy,
    clopper_pearson_lower,
    clopper_pearson_upper,
    confidence_bounds,
    decide,
    decide_class,
    radius,
)
from models.smoothing.certify import Blocks, Certification, MemoryBlocks, certify, estimate, predict, select
from models.smoothing.noise import Noise, Stream, noise_key
from models.smoothing.sampling import LABEL_DTYPE, BaseClassifier, NoisySampler, count, labels

__all__ = [
    "LABEL_DTYPE",
    "BaseClassifier",
    "Blocks",
    "Certification",
    "MemoryBlocks",
    "Noise",
    "NoisySampler",
    "Stream",
    "certified_accuracy",
    "certify",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "confidence_bounds",
    "count",
    "decide",
    "decide_class",
    "estimate",
    "labels",
    "noise_key",
    "predict",
    "radius",
    "select",
]
