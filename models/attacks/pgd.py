"""PGD on image features (AdvPT, ECCV 2024, section 4.1), without and with knowledge of the prompt.

The released code's choices are kept: a one-sided random start and a step of 1.25 epsilon / steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.backbones.base import Backbone

STEP_FACTOR = 1.25
"""Step size in units of epsilon / steps (released code of AdvPT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PgdParams:
    """Projected gradient ascent in an L-infinity ball.

    epsilon: half the side of the ball, in pixels of [0, 1]. steps: gradient steps.
    start: `one_sided` draws from U(0, epsilon) as the released code does, `two_sided` from U(-epsilon, epsilon). Never
        the clean image, where the gradient of the loss is exactly zero.
    """

    epsilon: float = 8 / 255
    steps: int = 10
    start: Literal["one_sided", "two_sided"] = "one_sided"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:  # also refuses NaN
            raise ValueError(f"epsilon must be in (0, 1], got {self.epsilon!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps!r}")
        if self.start not in ("one_sided", "two_sided"):
            raise ValueError(f"start must be 'one_sided' or 'two_sided', got {self.start!r}")


Objective = Callable[[Tensor], Tensor]
"""What an attack maximises: image features (B, D) of adversarial images, not normalised -> a scalar, summed over B.

A sum, not a mean, so that the step of one image does not depend on what else is in the batch.
"""


def embedding_divergence(clean: Tensor) -> Objective:
    """KL(softmax(clean) || softmax(adversarial)) over the coordinates of the features (B, D), AdvPT eq. 3.

    Temperature 1, features not normalised. It knows no prompt: against a learned one it is the papers' non-adaptive
    attack.
    """
    log_clean = F.log_softmax(clean, dim=-1)

    def objective(adversarial: Tensor) -> Tensor:
        log_adversarial = F.log_softmax(adversarial, dim=-1)
        return F.kl_div(log_adversarial, log_clean, reduction="sum", log_target=True)

    return objective


def misclassification(logits_of_features: Callable[[Tensor], Tensor], labels: Tensor) -> Objective:
    """The cross-entropy of the true `labels` (B,) under the classifier's own prompt: the adaptive attack."""
    return lambda adversarial: F.cross_entropy(logits_of_features(adversarial), labels, reduction="sum")


def attack(
    backbone: Backbone, images: Tensor, objective: Objective, params: PgdParams, generator: torch.Generator
) -> Tensor:
    """Adversarial images (B, 3, H, W) in [0, 1], within epsilon of `images` in every value, float32.

    images: (B, 3, H, W) in [0, 1]. generator: draws the start.
    """
    images = images.to(backbone.device, torch.float32)
    start = torch.rand(images.shape, generator=generator).to(images.device) * params.epsilon
    delta = start if params.start == "one_sided" else 2 * start - params.epsilon
    step = STEP_FACTOR * params.epsilon / params.steps
    for _ in range(params.steps):
        delta.requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(backbone.encode_image(images + delta).float()), delta)
        moved = (delta.detach() + step * gradient.sign()).clamp(-params.epsilon, params.epsilon)
        delta = (images + moved).clamp(0, 1) - images
    return (images + delta).clamp(0, 1)
