"""The losses that attacks maximise, and their gradient through a classifier, averaged over a randomised defence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.attacks.base import Classify

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) in float64, labels (B,) -> the value of each image (B,) that an attack maximises."""

LossName = Literal["cross_entropy", "margin", "dlr"]

_NO_ZERO: Final = 1e-12


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of the labels (B,)."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the best wrong logit minus that of the label (B,): above 0 where misclassified, for any K >= 2."""
    own = labels.unsqueeze(1)
    wrong = logits.scatter(1, own, -torch.inf).amax(dim=1)
    return wrong - logits.gather(1, own).squeeze(1)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the difference of logits ratio, K >= 3 (Croce & Hein 2020, eq. 6): a margin free of the logits' scale."""
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + _NO_ZERO)


def targeted_dlr(targets: Tensor) -> Loss:
    """Returns the loss of the difference of logits ratio towards `targets` (B,), K >= 4 (Croce & Hein, eq. 7)."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        top = logits.topk(4, dim=1).values
        scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _NO_ZERO
        return towards(targets)(logits, labels) / scale

    return loss


def towards(targets: Tensor) -> Loss:
    """Returns the loss with the logit of `targets` (B,) minus that of the label."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        wanted = targets.to(logits.device).unsqueeze(1)
        return (logits.gather(1, wanted) - logits.gather(1, labels.unsqueeze(1))).squeeze(1)

    return loss


LOSSES: Final[dict[LossName, Loss]] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Loss, gradient and margin at the images of an attack, averaged over the draws of the defence, on their device.

    Attributes:
        gradient: (B, 3, S, S), the gradient of the loss.
        loss: (B,).
        margin: (B,).
    """

    gradient: Tensor
    loss: Tensor
    margin: Tensor


def mean_gradient(
    classify: Classify, loss: Loss, images: Tensor, labels: Tensor, *, eot_draws: int, generator: torch.Generator
) -> Slope:
    """Returns loss and gradient at `images` (B, 3, S, S), the mean of `eot_draws` draws of a randomised defence.

    Args:
        classify: the classifier, with any defence in front of it.
        loss: the loss that the attack maximises.
        images: (B, 3, S, S) in [0, 1].
        labels: (B,).
        eot_draws: draws of the defence (expectation over transformation, Athalye et al. 2018).
        generator: the source of the draws, on the CPU.
    """
    gradient = torch.zeros_like(images)
    losses, margins = [], []
    for _ in range(eot_draws):
        point = images.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            # In float64 the cross-entropy of a confident classifier still has a gradient.
            logits = classify(point, generator).double()
            own = labels.to(logits.device)
            each = loss(logits, own)
            gradient += torch.autograd.grad(each.sum(), point)[0]
        losses.append(each.detach())
        margins.append(margin(logits.detach(), own))
    return Slope(
        gradient=gradient / eot_draws,
        loss=torch.stack(losses).mean(0).to(images.device),
        margin=torch.stack(margins).mean(0).to(images.device),
    )


def mean_margin(
    classify: Classify, images: Tensor, labels: Tensor, *, draws: int, generator: torch.Generator
) -> Tensor:
    """Returns the margin (B,) in float64, the mean over `draws` of a randomised defence, without any gradient."""
    with torch.no_grad():
        margins = []
        for _ in range(draws):
            logits = classify(images, generator).double()
            margins.append(margin(logits, labels.to(logits.device)))
        return torch.stack(margins).mean(0).to(images.device)
