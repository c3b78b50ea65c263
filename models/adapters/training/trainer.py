"""Trains an adapter without labels: features of noisy images become those of the clean images under the frozen tower.

The loss is that of denoised smoothing's stability objective (Salman et al., NeurIPS 2020) on features, by the cosine.
Each step draws its images and noise from (seed, step) alone, so that a resumed training continues as if never
interrupted.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.trainer_state import DOWN, REPLACED, UP, AdapterState
from certrad.models.backbones.base import Backbone
from certrad.models.randomness import seeded

_ENCODED_TOGETHER = 64


def train_adapter(
    backbone: Backbone,
    images: Tensor,
    params: AdapterParams,
    *,
    resume: AdapterState | None = None,
    every: int = 25,
) -> Iterator[AdapterState]:
    """Minimises mean(1 - cos(adapted(x + sigma eps), frozen(x))) by AdamW, in float32; the backbone stays as it is.

    The same seed gives the same adapter, bit for bit, on one machine with a CPU, also when it is resumed.

    Args:
        backbone: The frozen backbone, in float32.
        images: (N, 3, S, S) float32 in [0, 1], at the input size of the backbone.
        params: The hyper-parameters.
        resume: The state to continue from.
        every: Steps between two states.

    Yields:
        The state after every so many steps and after the last one; before them, the given state to resume from.

    Raises:
        ValueError: The images have another size, there are none, or the backbone is adapted or not in float32.
        Rejected: invalid_adapter if the loss or a value of a state is not finite; that state is not yielded.
    """
    side = backbone.image_size
    if images.shape[1:] != (3, side, side) or not len(images):
        raise ValueError(f"images must have the shape (N, 3, {side}, {side}), got {tuple(images.shape)}")
    if backbone.dtype != torch.float32 or backbone.adapter is not None:
        raise ValueError("the backbone must be a frozen one in float32")
    names = adaptable_parameters(backbone.image_tower)
    if resume is not None:
        yield resume
    state = resume or _first_state(backbone.image_tower, names, params)
    values = {name: value.to(backbone.device).clone().requires_grad_(True) for name, value in state.values.items()}
    optimizer = _optimizer(values, state, params)
    targets = clean_directions(backbone, images)
    losses: list[Tensor] = []
    for step in range(state.step, params.steps):
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = params.learning_rate(step), (params.momentum(step), group["betas"][1])
        chosen, noisy = _batch(images, params, step)
        features = functional_call(
            backbone.image_tower, substituted(backbone.image_tower, values), (backbone.normalised(noisy),)
        )
        loss = (1 - F.cosine_similarity(features, targets[chosen.to(targets.device)], dim=-1)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
        if (step + 1) % every == 0 or step + 1 == params.steps:
            yield _state(step + 1, float(torch.stack(losses).mean()), values, optimizer).require_finite()
            losses = []


def adaptable_parameters(tower: nn.Module) -> tuple[list[str], list[str]]:
    """Returns the names of the parameters that an adapter changes by a product of low rank, and of those it replaces.

    The former are the matrices of linear layers and of attention, the latter convolutions and layer norms.

    Args:
        tower: The image tower.
    """
    low_rank: list[str] = []
    replaced: list[str] = []
    for place, module in tower.named_modules():
        prefix = f"{place}." if place else ""
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Linear):
            low_rank.append(f"{prefix}weight")
        elif isinstance(module, nn.MultiheadAttention) and "in_proj_weight" in own:
            low_rank.append(f"{prefix}in_proj_weight")
        elif isinstance(module, nn.Conv2d | nn.LayerNorm):
            replaced.extend(prefix + name for name in own)
    known = {name for name, _ in tower.named_parameters()}  # names a shared parameter once
    return [name for name in low_rank if name in known], [name for name in replaced if name in known]


def substituted(tower: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the changed parameters of the tower by name, for `functional_call`; gradients reach the values.

    Args:
        tower: The frozen image tower.
        values: As in `AdapterState`.
    """
    changed: dict[str, Tensor] = {}
    for key, value in values.items():
        kind, colon, name = key.partition(":")
        if kind + colon == DOWN:
            changed[name] = tower.get_parameter(name) + values[UP + name] @ value
        elif kind + colon == REPLACED:
            changed[name] = value
    return changed


@torch.no_grad()
def clean_directions(backbone: Backbone, images: Tensor) -> Tensor:
    """Returns the L2-normalised features (N, D) of clean images.

    Args:
        backbone: The backbone.
        images: (N, 3, S, S) float32.
    """
    parts = [
        F.normalize(backbone.encode_image(part).float(), dim=-1) for part in torch.split(images, _ENCODED_TOGETHER)
    ]
    return torch.cat(parts)


def _batch(images: Tensor, params: AdapterParams, step: int) -> tuple[Tensor, Tensor]:
    """Returns the indices of the images of a step, and the noisy images."""
    generator = seeded(params.seed, "step", step)
    chosen = torch.randint(len(images), (params.batch_size,), generator=generator)
    low, high = math.log(params.sigma_low), math.log(params.sigma_high)
    sigma = torch.exp(low + (high - low) * torch.rand((params.batch_size, 1, 1, 1), generator=generator))
    clean = images[chosen].float()
    return chosen, clean + sigma * torch.randn(clean.shape, generator=generator)


def _first_state(tower: nn.Module, names: tuple[list[str], list[str]], params: AdapterParams) -> AdapterState:
    """Returns the state before the first step, in which nothing is changed yet: every `up` is zero."""
    low_rank, replaced = names
    values = {REPLACED + name: tower.get_parameter(name).detach().cpu().clone() for name in replaced}
    for name in low_rank:
        rows, columns = tower.get_parameter(name).shape
        first = torch.randn((params.rank, columns), generator=seeded(params.seed, "down", name))
        values |= {DOWN + name: first / math.sqrt(columns), UP + name: torch.zeros(rows, params.rank)}
    zeros = {name: torch.zeros_like(value) for name, value in values.items()}
    return AdapterState(step=0, loss=math.nan, values=values, averages=zeros, squares=zeros)


def _optimizer(values: Mapping[str, Tensor], state: AdapterState, params: AdapterParams) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(list(values.values()), lr=params.lr, weight_decay=params.weight_decay)
    for name, value in values.items():
        # Before the first step these are what AdamW itself begins with.
        optimizer.state[value] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": state.averages[name].to(value.device).clone(),
            "exp_avg_sq": state.squares[name].to(value.device).clone(),
        }
    return optimizer


def _state(step: int, loss: float, values: Mapping[str, Tensor], optimizer: torch.optim.AdamW) -> AdapterState:
    """Returns copies: the caller keeps the states that it received, so they must not change."""

    def copied(key: str) -> dict[str, Tensor]:
        return {name: optimizer.state[value][key].cpu().clone() for name, value in values.items()}

    return AdapterState(
        step=step,
        loss=loss,
        values={name: value.detach().cpu().clone() for name, value in values.items()},
        averages=copied("exp_avg"),
        squares=copied("exp_avg_sq"),
    )
