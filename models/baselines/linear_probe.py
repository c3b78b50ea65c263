"""Linear probe (Radford et al. 2021, as CoOp runs it): logistic regression on frozen image features."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from certrad.models.backbones.base import Backbone

EXPONENTS: Final = (6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)
"""Exponents of C, the inverse strength of the penalty, in CoOp's sweep; the first of equals wins."""
HALVINGS: Final = 8
MAX_ITERATIONS: Final = 1_000
TOLERANCE: Final = 1e-4  # of the gradient of the mean loss, as in scikit-learn

Labelled = tuple[Tensor, Tensor]
"""Image features (N, D), not normalised, and their labels (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearHead:
    """A linear layer on image features.

    Attributes:
        weight: (K, D), float32.
        bias: (K,), float32.
        c: the inverse strength of the penalty that they were fitted with.
    """

    weight: Tensor
    bias: Tensor
    c: float

    def logits(self, features: Tensor) -> Tensor:
        """Returns logits (B, K), float32, of image features (B, D), not normalised."""
        return features.float() @ self.weight.T + self.bias


class LinearProbe:
    """A classifier of pixels, differentiable and fit to be smoothed: the backbone's image features and a head."""

    def __init__(self, backbone: Backbone, head: LinearHead) -> None:
        if head.weight.shape[1] != backbone.embed_dim:
            raise ValueError(f"the head must take {backbone.embed_dim} features; got {head.weight.shape[1]}")
        self.backbone = backbone
        device = backbone.device
        self.head = LinearHead(weight=head.weight.to(device), bias=head.bias.to(device), c=head.c)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input."""
        return (3, self.backbone.image_size, self.backbone.image_size)

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.head.bias)

    @property
    def device(self) -> torch.device:
        """The device on which the classifier computes."""
        return self.backbone.device

    def logits(self, pixels: Tensor) -> Tensor:
        """Returns logits (B, K), float32, of pixels (B, 3, S, S) in the units of [0, 1]."""
        return self.logits_of_features(self.backbone.encode_image(pixels))

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Returns logits (B, K), float32, of image features (B, D), not normalised."""
        return self.head.logits(features)


def search(train: Labelled, validation: Labelled, n_classes: int) -> LinearHead:
    """Returns the head whose C is best on the validation features: CoOp's sweep, then eight halvings around its peak.

    Of two ends of equal accuracy it keeps the smaller C, the stronger penalty.
    """

    @cache
    def at(exponent: float) -> tuple[LinearHead, float]:
        head = fit(*train, n_classes, 10.0**exponent)
        return head, _accuracy(head.logits, validation)

    peak = max(EXPONENTS, key=lambda exponent: at(exponent)[1])
    left, right = peak - 1, peak + 1
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        if at(left)[1] < at(right)[1]:
            chosen, left = right, middle
        else:
            chosen, right = left, middle
    return at(chosen)[0]


def fit(features: Tensor, labels: Tensor, n_classes: int, c: float) -> LinearHead:
    """Returns the head that minimises c Σ cross-entropy + |weight|²/2, by L-BFGS in float64; the bias is not penalised.

    The loss is divided by c N, as scikit-learn does.

    Args:
        features: (N, D), not normalised.
        labels: (N,) in 0..n_classes-1.
        n_classes: K.
        c: inverse strength of the penalty, above 0.

    Raises:
        ValueError: for c <= 0, other shapes or labels out of range.
    """
    if not c > 0:
        raise ValueError(f"c must be > 0, got {c!r}")
    x = features.detach().double().cpu().numpy()
    y = labels.cpu().numpy()
    if x.ndim != 2 or y.shape != (len(x),) or not len(x):
        raise ValueError(f"features must have the shape (N, D) and labels (N,); got {x.shape} and {y.shape}")
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(f"labels must be in 0..{n_classes - 1}, got {y.min()}..{y.max()}")
    result = minimize(
        _loss,
        np.zeros(n_classes * (x.shape[1] + 1)),
        args=(x, np.eye(n_classes)[y], 1 / (c * len(x))),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "maxfun": 20 * MAX_ITERATIONS, "gtol": TOLERANCE, "ftol": 1e-14},
    )
    solution = torch.from_numpy(result.x.reshape(n_classes, -1)).float()
    return LinearHead(weight=solution[:, :-1].contiguous(), bias=solution[:, -1].contiguous(), c=c)


def _loss(
    flat: NDArray[np.float64], x: NDArray[Any], targets: NDArray[Any], penalty: float
) -> tuple[float, NDArray[np.float64]]:
    """Returns the mean cross-entropy and its gradient, penalty included; flat: (K, D + 1), the bias last."""
    parameters = flat.reshape(targets.shape[1], -1)
    weight, bias = parameters[:, :-1], parameters[:, -1]
    logits = x @ weight.T + bias
    log_probabilities = logits - logsumexp(logits, axis=1, keepdims=True)
    loss = -(targets * log_probabilities).sum() / len(x) + 0.5 * penalty * (weight**2).sum()
    slope = (np.exp(log_probabilities) - targets) / len(x)
    gradient = np.column_stack([slope.T @ x + penalty * weight, slope.sum(axis=0)])
    return float(loss), gradient.ravel()


def _accuracy(logits: Callable[[Tensor], Tensor], labelled: Labelled) -> float:
    features, labels = labelled
    return float((logits(features.cpu()).argmax(dim=-1) == labels.cpu()).float().mean())
