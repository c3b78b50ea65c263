"""Training of a denoiser for one sigma (Salman et al. 2020), resumable after every epoch.

Each epoch draws its randomness from (seed, epoch) alone, so that a resumed training continues as if never interrupted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from certrad.models.defences.denoiser import DnCnn
from certrad.models.defences.purifier import Logits
from certrad.models.errors import Rejected
from certrad.models.randomness import seeded
from certrad.models.types.smoothing import SIGMA_RANGE

Objective = Literal["mse", "stability"]
Images = Callable[[Tensor], Tensor]
"""Pixels (B, 3, H, W) in [0, 1] of the training images with these indices (B,); for a tensor, its `__getitem__`."""

_MOMENTS: Final = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserParams:
    """Hyper-parameters; the defaults are those of the released code of Denoised Smoothing.

    Attributes:
        sigma: standard deviation of the noise, in pixels of [0, 1], never clipped.
        objective: `mse` to the clean pixels, or `stability`, the cross-entropy of the classifier's answer on the
            denoised image to its own answer on the clean one.
        epochs: passes over all images.
        batch_size: images in a step.
        lr: initial learning rate.
        weight_decay: weight decay of Adam.
        lr_epochs: epochs after each of which the learning rate is multiplied by lr_factor.
        lr_factor: see lr_epochs.
        depth: number of convolutions.
        channels: channels between them.
        seed: random seed.
    """

    sigma: float
    objective: Objective = "mse"
    epochs: int = 90
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-4
    lr_epochs: int = 30
    lr_factor: float = 0.1
    depth: int = 17
    channels: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not SIGMA_RANGE[0] <= self.sigma <= SIGMA_RANGE[1]:  # also refuses NaN
            raise ValueError(f"sigma must be in [{SIGMA_RANGE[0]}, {SIGMA_RANGE[1]}], got {self.sigma!r}")
        if self.objective not in ("mse", "stability"):
            raise ValueError(f"objective must be 'mse' or 'stability', got {self.objective!r}")
        for name in ("epochs", "batch_size", "lr_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if not 0 < self.lr <= 1:
            raise ValueError(f"lr must be in (0, 1], got {self.lr!r}")

    def learning_rate(self, epoch: int) -> float:
        """Returns the learning rate of an epoch counted from 0."""
        return self.lr * self.lr_factor ** (epoch // self.lr_epochs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenoiserState:
    """Everything that training needs to continue after `epoch` finished epochs.

    Attributes:
        epoch: number of finished epochs.
        loss: mean loss over the last one.
        steps: steps of Adam so far.
        weights: weights of the denoiser, running statistics included.
        moments: moments of Adam, by parameter.
    """

    epoch: int
    loss: float
    steps: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]

    def to_bytes(self) -> bytes:
        """Returns the state as a safetensors file."""
        scalars = torch.tensor([self.epoch, self.loss, self.steps], dtype=torch.float64)
        weights = {f"weights.{key}": value for key, value in self.weights.items()}
        moments = {f"moments.{key}": value for key, value in self.moments.items()}
        content: bytes = save({"scalars": scalars, **weights, **moments})
        return content

    @staticmethod
    def from_bytes(content: bytes) -> "DenoiserState":
        """Returns the state in a safetensors file.

        Raises:
            Rejected: invalid_checkpoint.
        """
        try:
            tensors = load(content)
            epoch, loss, steps = tensors["scalars"].tolist()
        except (SafetensorError, KeyError, ValueError) as error:
            raise Rejected(
                "invalid_checkpoint", f"the content is not the state of a training: {type(error).__name__}"
            ) from error
        return DenoiserState(
            epoch=int(epoch),
            loss=loss,
            steps=int(steps),
            weights=_with_prefix(tensors, "weights."),
            moments=_with_prefix(tensors, "moments."),
        )


def train(
    images: Images,
    n_images: int,
    params: DenoiserParams,
    *,
    logits: Logits | None = None,
    device: torch.device | str = "cpu",
    resume: DenoiserState | None = None,
    on_epoch: Callable[[DenoiserState], None] | None = None,
) -> DnCnn:
    """Trains a denoiser on noisy copies of `n_images` images; the classifier stays frozen.

    The same seed gives the same weights, bit for bit, on one machine.

    Args:
        images: returns the pixels of the training images at given indices.
        n_images: number of training images.
        params: hyper-parameters.
        logits: logits of the classifier, differentiable, on the same device; only for `stability`.
        device: where to train.
        resume: state to continue from.
        on_epoch: called after each epoch with the state to resume from.

    Returns:
        The denoiser, frozen and in evaluation mode.
    """
    model = DnCnn(params.depth, params.channels)
    for state in train_epochs(images, n_images, params, logits=logits, device=device, resume=resume):
        model.load_state_dict(state.weights)
        if on_epoch:
            on_epoch(state)
    model.requires_grad_(False).train(False)
    return model.to(device)


def train_epochs(
    images: Images,
    n_images: int,
    params: DenoiserParams,
    *,
    logits: Logits | None = None,
    device: torch.device | str = "cpu",
    resume: DenoiserState | None = None,
) -> Iterator[DenoiserState]:
    """Trains a denoiser by Adam in float32; see `train` for the arguments.

    Yields:
        The state after each epoch; before them, the given state to resume from.

    Raises:
        ValueError: unless `logits` are given for the objective `stability`, and only for it.
    """
    if (params.objective == "stability") != (logits is not None):
        raise ValueError(
            f"logits must be given for 'stability' and only for it; got the objective {params.objective!r}"
        )
    model = DnCnn(params.depth, params.channels).initialise(seeded(params.seed, "denoiser")).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    if resume is not None:
        yield resume
        _restore(model, optimizer, resume)
    for epoch in range(resume.epoch if resume else 0, params.epochs):
        optimizer.param_groups[0]["lr"] = params.learning_rate(epoch)
        generator = seeded(params.seed, "epoch", epoch)
        losses = []
        for indices in torch.split(torch.randperm(n_images, generator=generator), params.batch_size):
            clean = images(indices).float()
            noisy = clean + params.sigma * torch.randn(clean.shape, generator=generator)
            loss = _loss(model, clean.to(device), noisy.to(device), logits)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.detach())
        yield _state(model, optimizer, epoch + 1, float(torch.stack(losses).mean()))


def _loss(model: DnCnn, clean: Tensor, noisy: Tensor, logits: Logits | None) -> Tensor:
    denoised = model(noisy)
    if logits is None:
        return F.mse_loss(denoised, clean)
    with torch.no_grad():
        answers = logits(clean).argmax(dim=-1)
    return F.cross_entropy(logits(denoised), answers)


def _state(model: DnCnn, optimizer: torch.optim.Adam, epoch: int, loss: float) -> DenoiserState:
    named = dict(model.named_parameters())
    first = optimizer.state[next(iter(named.values()))]
    return DenoiserState(
        epoch=epoch,
        loss=loss,
        steps=int(first["step"]),
        weights={key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
        moments={
            f"{moment}.{key}": optimizer.state[parameter][moment].detach().cpu().clone()
            for key, parameter in named.items()
            for moment in _MOMENTS
        },
    )


def _restore(model: DnCnn, optimizer: torch.optim.Adam, state: DenoiserState) -> None:
    model.load_state_dict(state.weights)
    for key, parameter in model.named_parameters():
        moments = {moment: state.moments[f"{moment}.{key}"].clone().to(parameter.device) for moment in _MOMENTS}
        optimizer.state[parameter] = {"step": torch.tensor(float(state.steps)), **moments}


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
