"""The interface of attacks, and accuracy under attack: without and with knowledge of the defence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from certrad.models.smoothing.accuracy import Share
from certrad.models.types.pixels import WHITE

Attack = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""Images (B, 3, S, S) float32 in [0, 1], labels (B,), generator on the CPU -> adversarial images.

They lie in [0, 1], within epsilon (L-infinity) of the images, on their device. An attack gets its knowledge of the
classifier when it is built. All randomness comes from the generator.
"""

Classify = Callable[[Tensor, torch.Generator], Tensor]
"""Images (B, 3, S, S) and a generator on the CPU, for a randomised defence -> logits (B, K) of the attacked classifier.

A row depends on its own image only, so that the rest of a batch cannot change the result of an attack.
"""

ROUNDING: Final = 1e-6
"""By how much float32 arithmetic may leave the ball: 1/4000 of a grey level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustAccuracy:
    """Accuracy on clean images, under the attack that does not know the defence, and under the one that does.

    The second alone says how well attacks made for something else transfer, which is what the papers report; robustness
    is the third. Figures are reported with both.

    Attributes:
        clean: share of clean images classified correctly.
        non_adaptive: the same share under the attack that does not know the defence.
        adaptive: the same share under the attack that does.
        epsilon: half the side of the L-infinity ball of both attacks, in pixels of [0, 1].
        non_adaptive_attack: name of the first attack.
        adaptive_attack: name of the second attack.
    """

    clean: Share
    non_adaptive: Share
    adaptive: Share
    epsilon: float
    non_adaptive_attack: str
    adaptive_attack: str

    def __post_init__(self) -> None:
        totals = {self.clean.images, self.non_adaptive.images, self.adaptive.images}
        if len(totals) != 1:
            raise ValueError(f"the three shares must be of the same images, got totals {sorted(totals)}")
        if not (self.non_adaptive_attack and self.adaptive_attack):
            raise ValueError("both attacks must be named")

    @property
    def gradient_masking_suspected(self) -> bool:
        """Returns whether the attack that knows more does worse: it has failed, and its figure is no robustness."""
        return self.adaptive.hits > self.non_adaptive.hits


def attacked(
    attack: Attack,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    generator: torch.Generator,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Returns adversarial images (N, 3, S, S) on the device of `images`, made in batches and checked.

    If the defence is deterministic, the batch size changes no image, float rounding aside; it does change RAP's images.

    Args:
        attack: the attack.
        images: (N, 3, S, S) in [0, 1].
        labels: (N,).
        epsilon: half the side of the L-infinity ball, in pixels of [0, 1].
        generator: the source of all randomness, on the CPU.
        batch_size: images attacked together.
        on_batch: called with the number of images done.

    Raises:
        ValueError: if an image is outside the ball or the range.
    """
    done = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        adversarial = attack(batch, labels[start : start + batch_size], generator).to(images.device)
        require_within(batch, adversarial, epsilon)
        done.append(adversarial)
        if on_batch:
            on_batch(start + len(batch))
    return torch.cat(done)


def require_within(images: Tensor, adversarial: Tensor, epsilon: float) -> None:
    """Checks that every adversarial image is in [0, 1] and within epsilon of its image, rounding aside.

    Raises:
        ValueError: if one is not.
    """
    if adversarial.shape != images.shape:
        raise ValueError(
            f"adversarial images must have the shape {tuple(images.shape)}; got {tuple(adversarial.shape)}"
        )
    distance = float((adversarial.double() - images.double().to(adversarial.device)).abs().max())
    if not distance <= epsilon + ROUNDING:  # also refuses NaN
        raise ValueError(f"adversarial images must be within epsilon = {epsilon:.6f}, got a distance of {distance:.6f}")
    low, high = float(adversarial.min()), float(adversarial.max())
    if low < 0 or high > 1:
        raise ValueError(f"adversarial images must be in [0, 1], got [{low:.6f}, {high:.6f}]")


def classes(classify: Classify, images: Tensor, generator: torch.Generator, *, batch_size: int = 32) -> Tensor:
    """Returns the class (N,) of every image, on the CPU; -1, the class of no label, where logits are not finite."""
    batches = []
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            logits = classify(batch, generator)
            valid = logits.isfinite().all(dim=-1)
            batches.append(torch.where(valid, logits.argmax(dim=-1), -1).cpu())
    return torch.cat(batches)


def accuracy(predicted: Tensor, labels: Tensor) -> Share:
    """Returns the share of predicted classes (N,) that equal the labels (N,)."""
    return Share.of(int((predicted.cpu() == labels.cpu()).sum()), len(labels))


def grid(images: Tensor, adversarial: Tensor, epsilon: float) -> Tensor:
    """Returns the 8-bit images (uint8, same shape) nearest to adversarial images among those within epsilon.

    A PNG holds k / 255, so such an image can be sent; rounding alone could leave the ball by half a grey level.

    Raises:
        ValueError: for epsilon below half a grey level, because there may be no 8-bit image so near.
    """
    if epsilon < 0.5 / WHITE:
        raise ValueError(f"epsilon must be >= 0.5/255 for 8-bit images, got {epsilon!r}")
    levels = images.double() * WHITE
    slack = ROUNDING * WHITE
    low = (levels - WHITE * epsilon - slack).ceil()
    high = (levels + WHITE * epsilon + slack).floor()
    nearest = (adversarial.to(images.device).double() * WHITE).round()
    return nearest.clamp(low, high).clamp(0, WHITE).to(torch.uint8)
