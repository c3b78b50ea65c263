"""The gate: the weight of each prompt of a bank for one noisy sample, as a function of that sample and of sigma.

This is adaptation inside the base classifier: any fixed function of the single noisy sample keeps the certificate,
because the smoothed classifier is then that of one base classifier (docs/mathematics.md, 3.4; Salman et al. 2019,
Levine et al. 2019).
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleGate:
    """The gate at one sigma: signed weights of B prompts from the direction v of one image feature.

    w(v) = output·gelu(hidden·v + hidden_bias) + output_bias

    Attributes:
        hidden: (H, D), float32.
        hidden_bias: (H,), float32.
        output: (B, H), float32.
        output_bias: (B,), float32.
    """

    hidden: Tensor
    hidden_bias: Tensor
    output: Tensor
    output_bias: Tensor

    def weights(self, directions: Tensor) -> Tensor:
        """Returns weights (N, B) of L2-normalised image features (N, D); each row depends on its own feature only."""
        return F.linear(F.gelu(F.linear(directions, self.hidden, self.hidden_bias)), self.output, self.output_bias)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Returns everything that the weights depend on."""
        return self.hidden, self.hidden_bias, self.output, self.output_bias

    def to(self, device: torch.device) -> "SampleGate":
        """Returns the same gate on another device."""
        return SampleGate(
            hidden=self.hidden.to(device),
            hidden_bias=self.hidden_bias.to(device),
            output=self.output.to(device),
            output_bias=self.output_bias.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gate:
    """A gate that knows sigma, which is public: ln sigma is one more input of its hidden layer.

    Attributes:
        hidden: (H, D), float32.
        of_sigma: (H,), float32, the weights of ln sigma.
        hidden_bias: (H,), float32.
        output: (B, H), float32.
        output_bias: (B,), float32.
        sigma_range: the smallest and the largest sigma it was tuned at; a sigma beyond them is replaced by the nearer
            one.
    """

    hidden: Tensor
    of_sigma: Tensor
    hidden_bias: Tensor
    output: Tensor
    output_bias: Tensor
    sigma_range: tuple[float, float]

    def __post_init__(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        h, d, b = len(self.hidden), self.hidden.shape[-1], len(self.output_bias)
        expected = {"hidden": (h, d), "of_sigma": (h,), "hidden_bias": (h,), "output": (b, h), "output_bias": (b,)}
        if shapes != expected or any(tensor.dtype != torch.float32 for tensor in self.tensors.values()):
            raise ValueError(f"the tensors must be float32 of the shapes {expected}, got {shapes}")
        if not all(bool(tensor.isfinite().all()) for tensor in self.tensors.values()):
            raise ValueError("the tensors of a gate must be finite")
        low, high = self.sigma_range
        if not 0 < low <= high:
            raise ValueError(f"sigma_range must be 0 < low <= high, got {self.sigma_range!r}")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        names = ("hidden", "of_sigma", "hidden_bias", "output", "output_bias")
        return {name: getattr(self, name) for name in names}

    @property
    def n_members(self) -> int:
        """B, the number of prompts it weighs."""
        return len(self.output_bias)

    @property
    def sha256(self) -> str:
        """SHA-256 over the tensors and the range of sigma: the identity of the gate."""
        hasher = hashlib.sha256(repr(self.sigma_range).encode())
        for name, tensor in self.tensors.items():
            hasher.update(f"\0{name}\0".encode() + tensor.cpu().contiguous().numpy().astype("<f4").tobytes())
        return hasher.hexdigest()

    def at(self, sigma: float) -> SampleGate:
        """Returns the gate for samples with noise of one standard deviation."""
        low, high = self.sigma_range
        return SampleGate(
            hidden=self.hidden,
            hidden_bias=self.hidden_bias + math.log(min(max(sigma, low), high)) * self.of_sigma,
            output=self.output,
            output_bias=self.output_bias,
        )


def mixed_similarities(directions: Tensor, text_features: Tensor, weights: Tensor) -> Tensor:
    """Returns similarities (N, K) of directions v (N, D) to the mixtures of B prompts with the weights (N, B).

    ⟨v, Σ_b w_b u_bk⟩ with text_features u (B, K, D). Up to a term that is the same for all classes, it is the sum of
    the members' log-probabilities with these weights, so the same class is the largest.
    """
    n_members, n_classes, width = text_features.shape
    similar = (directions @ text_features.reshape(-1, width).T).view(-1, n_members, n_classes)
    return (weights.unsqueeze(-1) * similar).sum(dim=1)
