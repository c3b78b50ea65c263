"""Projected gradient ascent: on image features (AdvPT, ECCV 2024, section 4.1), and through a whole classifier.

On image features it keeps the released code's choices: a one-sided random start and a step of 1.25 epsilon / steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.base import Attack, Classify
from certrad.models.attacks.losses import LOSSES, LossName, mean_gradient
from certrad.models.backbones.base import Backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class PgdParams:
    """Settings of projected gradient ascent in an L-infinity ball.

    Attributes:
        epsilon: half the side of the ball, in pixels of [0, 1].
        steps: gradient steps.
        start: `one_sided` draws from U(0, epsilon) as the released code does, `two_sided` from U(-epsilon, epsilon).
            Never the clean image, where the gradient of the embedding loss is exactly zero.
        step_factor: length of a step in units of epsilon / steps; 1.25 is that of AdvPT's released code, with which a
            value cannot cross the ball.
        seed: random seed, for callers that make the generator.
    """

    epsilon: float = 8 / 255
    steps: int = 10
    start: Literal["one_sided", "two_sided"] = "one_sided"
    step_factor: float = 1.25
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:  # also refuses NaN
            raise ValueError(f"epsilon must be in (0, 1], got {self.epsilon!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps!r}")
        if self.start not in ("one_sided", "two_sided"):
            raise ValueError(f"start must be 'one_sided' or 'two_sided', got {self.start!r}")
        if not self.step_factor > 0:
            raise ValueError(f"step_factor must be > 0, got {self.step_factor!r}")


PGD_10: Final = PgdParams(epsilon=8 / 255, steps=10)
"""The attack that makes the bank of AdvPT."""
PGD_40: Final = PgdParams(epsilon=16 / 255, steps=40)
"""The attack that evaluates AdvPT."""
ADAPTIVE_PGD_40: Final = PgdParams(epsilon=16 / 255, steps=40, start="two_sided", step_factor=2.5)
"""The same budget, with steps that reach every corner of the ball (Madry et al. 2018)."""

Objective = Callable[[Tensor], Tensor]
"""Image features (B, D) of adversarial images, not normalised -> the scalar that an attack maximises, summed over B.

A sum, not a mean, so that the step of one image does not depend on the rest of the batch.
"""


def embedding_divergence(clean: Tensor) -> Objective:
    """Returns the objective KL(softmax(clean) || softmax(adversarial)) over the coordinates of features (AdvPT eq. 3).

    Temperature 1, features (B, D) not normalised. It knows no prompt: against a learned one it is the papers'
    non-adaptive attack.
    """
    log_clean = F.log_softmax(clean, dim=-1)

    def objective(adversarial: Tensor) -> Tensor:
        log_adversarial = F.log_softmax(adversarial, dim=-1)
        return F.kl_div(log_adversarial, log_clean, reduction="sum", log_target=True)

    return objective


def embedding_pgd(backbone: Backbone, params: PgdParams) -> Attack:
    """Returns the papers' attack: it knows the image encoder, but neither labels nor prompt nor defence."""

    def embedding_attack(images: Tensor, _: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            clean = backbone.encode_image(images).float()
        return attack(backbone, images, embedding_divergence(clean), params, generator).to(images.device)

    return embedding_attack


def adaptive_pgd(
    classify: Classify, params: PgdParams, *, eot_draws: int = 1, loss: LossName = "cross_entropy"
) -> Attack:
    """Returns the attack that knows everything: it climbs the loss of the true label through defence and prompt.

    Args:
        classify: the classifier, with any defence in front of it.
        params: settings of the ascent.
        eot_draws: draws of a randomised defence over which each gradient is averaged (Athalye et al. 2018).
        loss: the loss to maximise.

    Raises:
        ValueError: if `eot_draws` is below 1.
    """
    if eot_draws < 1:
        raise ValueError(f"eot_draws must be >= 1, got {eot_draws!r}")

    def adaptive_attack(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        def gradient(adversarial: Tensor) -> Tensor:
            return mean_gradient(
                classify, LOSSES[loss], adversarial, labels, eot_draws=eot_draws, generator=generator
            ).gradient

        return ascend(images, gradient, params, generator)

    return adaptive_attack


def attack(
    backbone: Backbone, images: Tensor, objective: Objective, params: PgdParams, generator: torch.Generator
) -> Tensor:
    """Returns adversarial images (B, 3, H, W) in [0, 1], within epsilon of `images` in every value, float32.

    Args:
        backbone: the model whose image features are attacked.
        images: (B, 3, H, W) in [0, 1].
        objective: the function of the features to maximise.
        params: settings of the ascent.
        generator: draws the start.
    """

    def gradient(adversarial: Tensor) -> Tensor:
        adversarial.requires_grad_(True)
        return torch.autograd.grad(objective(backbone.encode_image(adversarial).float()), adversarial)[0]

    return ascend(images.to(backbone.device, torch.float32), gradient, params, generator)


def ascend(
    images: Tensor, gradient: Callable[[Tensor], Tensor], params: PgdParams, generator: torch.Generator
) -> Tensor:
    """Returns the images after `params.steps` steps along the sign of a gradient, projected to the ball and to [0, 1].

    Args:
        images: (B, 3, H, W) in [0, 1].
        gradient: takes adversarial images (B, 3, H, W), possibly outside [0, 1] at the start; returns the gradient to
            climb, same shape.
        params: settings of the ascent.
        generator: draws the start.
    """
    start = torch.rand(images.shape, generator=generator).to(images.device) * params.epsilon
    delta = start if params.start == "one_sided" else 2 * start - params.epsilon
    step = params.step_factor * params.epsilon / params.steps
    for _ in range(params.steps):
        moved = (delta + step * gradient(images + delta).sign()).clamp(-params.epsilon, params.epsilon)
        delta = (images + moved).clamp(0, 1) - images
    return (images + delta).clamp(0, 1)
