"""What an attack is and must keep to, and accuracy under attack: without and with knowledge of the defence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from certrad.models.smoothing.accuracy import Share
from certrad.models.types.pixels import WHITE

Attack = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""Images (B, 3, S, S) float32 in [0, 1], labels (B,), generator on the CPU -> adversarial images.

They lie in [0, 1], within epsilon (L-infinity) of the images, on their device. What an attack knows is bound when it is
built. All randomness comes from the generator.
"""

Classify = Callable[[Tensor, torch.Generator], Tensor]
"""Images (B, 3, S, S) and a generator on the CPU, for a randomised defence -> logits (B, K) of what is attacked.

A row depends on its own image only, so that what else is in a batch cannot change what an attack finds.
"""

ROUNDING: Final = 1e-6
"""By how much float32 arithmetic may leave the ball: 1/4000 of a grey level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustAccuracy:
    """Accuracy on clean images, under the attack that does not know the defence, and under the one that does.

    The second alone says how well attacks made for something else transfer, which is what the papers report; robustness
    is the third. Neither can be told without the other.
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
        """Whether the attack that knows more does worse: it has failed, and its figure is no robustness."""
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
    """Adversarial images (N, 3, S, S) on the device of `images`, made in batches and checked.

    Through a defence that draws nothing, the size of the batches changes no image, float rounding aside; RAP's it does.
    on_batch: called with the number of images done. Raises ValueError when the attack left the ball or the range.
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
    """Raises ValueError unless every adversarial image is in [0, 1] and within epsilon of its image, rounding aside."""
    if adversarial.shape != images.shape:
        raise ValueError(f"adversarial images of shape {tuple(images.shape)} are expected, got {adversarial.shape}")
    distance = float((adversarial.double() - images.double().to(adversarial.device)).abs().max())
    if not distance <= epsilon + ROUNDING:  # also refuses NaN
        raise ValueError(f"adversarial images must be within epsilon = {epsilon:.6f}, got a distance of {distance:.6f}")
    low, high = float(adversarial.min()), float(adversarial.max())
    if low < 0 or high > 1:
        raise ValueError(f"adversarial images must be in [0, 1], got [{low:.6f}, {high:.6f}]")


def classes(classify: Classify, images: Tensor, generator: torch.Generator, *, batch_size: int = 32) -> Tensor:
    """The class (N,) of every image, on the CPU; where logits are not finite it is -1, the class of no label."""
    found = []
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            logits = classify(batch, generator)
            valid = logits.isfinite().all(dim=-1)
            found.append(torch.where(valid, logits.argmax(dim=-1), -1).cpu())
    return torch.cat(found)


def accuracy(predicted: Tensor, labels: Tensor) -> Share:
    """The share of predicted classes (N,) that are the labels (N,)."""
    return Share.of(int((predicted.cpu() == labels.cpu()).sum()), len(labels))


def grid(images: Tensor, adversarial: Tensor, epsilon: float) -> Tensor:
    """The pictures of 8 bits (uint8, same shape) nearest to adversarial images among those within epsilon.

    k / 255 is what a PNG of it holds, so it can be sent; rounding alone could leave the ball by half a grey level.
    Raises ValueError for epsilon below half a grey level, for there may be no picture so near.
    """
    if epsilon < 0.5 / WHITE:
        raise ValueError(f"epsilon must be >= 0.5/255 for pictures of 8 bits, got {epsilon!r}")
    levels = images.double() * WHITE
    slack = ROUNDING * WHITE
    low = (levels - WHITE * epsilon - slack).ceil()
    high = (levels + WHITE * epsilon + slack).floor()
    nearest = (adversarial.to(images.device).double() * WHITE).round()
    return nearest.clamp(low, high).clamp(0, WHITE).to(torch.uint8)
