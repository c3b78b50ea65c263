"""The extra class of a bank: the score of one noisy sample for being unlike the images that the bank was tuned on.

The score is one more logit of the base classifier, a fixed function of the single noisy sample and of sigma, so that
the certificate of K classes is that of K + 1 (docs/mathematics.md, 3.7).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from certrad.models.prompts.gate import Gate, SampleGate, mixed_similarities
from certrad.models.types.rejection import require_tuned

PREFIX: Final = "rejection."
"""Begins the names of its tensors in the checkpoint of a bank."""
_GATE: Final = "gate."
_UNIT: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleRejection:
    """The extra class at one sigma.

    Attributes:
        features: (B, D), float32, L2-normalised.
        gate: Weighs them for each sample.
        bias: Added to the logit.
    """

    features: Tensor
    gate: SampleGate
    bias: float

    def logits(self, directions: Tensor, scale: float) -> Tensor:
        """Returns the logit (N, 1) of L2-normalised image features (N, D); each row depends on its own feature only.

        Args:
            directions: (N, D).
            scale: Factor of the cosine similarities.
        """
        weights = self.gate.weights(directions)
        return scale * mixed_similarities(directions, self.features.unsqueeze(1), weights) + self.bias

    def to(self, device: torch.device) -> "SampleRejection":
        """Returns the same class on another device."""
        return SampleRejection(features=self.features.to(device), gate=self.gate.to(device), bias=self.bias)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rejection:
    """The extra class for any sigma between the smallest and the largest it was tuned at.

    Attributes:
        features: (B, D), float32, L2-normalised: a text feature of no text for each of B members.
        gate: Weighs them for each sample.
        sigmas: Sigmas in rising order.
        biases: The bias of the logit at each of them; linear in ln sigma between them.
    """

    features: Tensor
    gate: Gate
    sigmas: tuple[float, ...]
    biases: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.features.shape != (self.gate.n_members, self.gate.hidden.shape[-1]):
            raise ValueError(f"the gate weighs {self.gate.n_members} features, got {tuple(self.features.shape)}")
        norms = self.features.double().norm(dim=-1)
        if self.features.dtype != torch.float32 or not bool(((norms - 1).abs() < _UNIT).all()):
            raise ValueError("the features of the extra class must be float32 of norm 1")
        if not self.sigmas or len(self.sigmas) != len(self.biases) or self.sigmas[0] <= 0:
            raise ValueError(f"each sigma needs a bias, got {self.sigmas!r} and {self.biases!r}")
        if list(self.sigmas) != sorted(set(self.sigmas)) or not all(map(math.isfinite, self.biases)):
            raise ValueError("sigmas must rise, and biases must be finite: a logit that is not makes a sample invalid")

    @property
    def sha256(self) -> str:
        """SHA-256 over the tensors: the identity of the extra class."""
        hasher = hashlib.sha256(f"{self.sigmas!r}\0{self.biases!r}\0{self.gate.sha256}\0".encode())
        hasher.update(self.features.cpu().contiguous().numpy().astype("<f4").tobytes())
        return hasher.hexdigest()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, as a checkpoint has them."""
        of_gate = {f"{_GATE}{name}": tensor for name, tensor in self.gate.tensors.items()}
        numbers = {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in ("sigmas", "biases")}
        return {f"{PREFIX}{name}": tensor for name, tensor in ({"features": self.features} | numbers | of_gate).items()}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> "Rejection | None":
        """Returns the extra class that the tensors of a checkpoint hold; None where they hold none.

        Args:
            tensors: The tensors by name, others among them.

        Raises:
            KeyError: A tensor is missing.
            TypeError: A tensor of the gate is missing or unknown.
            ValueError: The tensors do not go together.
        """
        own = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
        if not own:
            return None
        sigmas, biases = (tuple(own.pop(name).tolist()) for name in ("sigmas", "biases"))
        features = own.pop("features")
        weights = {name.removeprefix(_GATE): tensor for name, tensor in own.items()}
        gate = Gate(**weights, sigma_range=(sigmas[0], sigmas[-1]))
        return Rejection(features=features, gate=gate, sigmas=sigmas, biases=biases)

    def at(self, sigma: float) -> SampleRejection:
        """Returns the extra class for samples with noise of one standard deviation.

        Args:
            sigma: Standard deviation of the noise, in pixels of [0, 1].

        Raises:
            Rejected: sigma_not_tuned, beyond the sigmas it was tuned at, where its threshold would mean nothing.
        """
        self.require(sigma)
        return SampleRejection(features=self.features, gate=self.gate.at(sigma), bias=self._bias(sigma))

    def require(self, sigma: float) -> None:
        """Checks that the extra class was tuned for a sigma.

        Args:
            sigma: Standard deviation of the noise, in pixels of [0, 1].

        Raises:
            Rejected: sigma_not_tuned, if it was not.
        """
        require_tuned(sigma, self.sigmas[0], self.sigmas[-1])

    def _bias(self, sigma: float) -> float:
        for low, high, first, last in zip(self.sigmas, self.sigmas[1:], self.biases, self.biases[1:], strict=False):
            if low <= sigma <= high:
                share = math.log(sigma / low) / math.log(high / low)
                return (1 - share) * first + share * last
        return self.biases[0]
