"""The surrogate of black-box attacks: a ResNet-50 of torchvision whose last layer is trained for the classes.

Unlike AdvPT's released code it sees the normalisation it was trained with, its batch norms keep their statistics, and
only the last layer is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from certrad.models.attacks.rap import Surrogate
from certrad.models.backbones.weights import read_tensors
from certrad.models.errors import Rejected

MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
"""The normalisation of torchvision's ImageNet weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadParams:
    """Settings of the training of the last layer: AdamW at `lr`, lowered along a cosine (AdvPT's released code).

    Attributes:
        epochs: passes over all images.
        lr: initial learning rate.
        batch_size: images in a step.
        seed: random seed.
    """

    epochs: int = 90
    lr: float = 1e-3
    batch_size: int = 64
    seed: int = 0


def load_resnet50(directory: Path) -> tuple[nn.Module, nn.Linear]:
    """Loads a ResNet-50 from the one `resnet50*` file of the directory, with weights as torchvision publishes them.

    Returns:
        The network without its last layer, and that layer, with ImageNet's 1000 classes.

    Raises:
        Rejected: model_unavailable where there is no such file or more than one; invalid_weights.
    """
    from torchvision.models import resnet50  # takes seconds to import, and only this attack needs it

    files = sorted(path for path in directory.glob("resnet50*") if path.suffix in (".pth", ".safetensors"))
    if len(files) != 1:
        raise Rejected(
            "model_unavailable",
            f"{directory.name!r} must hold exactly one resnet50*.pth of torchvision; got {len(files)}",
        )
    with torch.device("meta"):
        model = resnet50()
    try:
        model.load_state_dict(read_tensors(files[0]), assign=True)
    except RuntimeError as error:
        raise Rejected("invalid_weights", f"{files[0].name} is not a ResNet-50 of torchvision") from error
    return body_and_head(model)


def body_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Returns a ResNet without its last layer, frozen and in evaluation mode, and that layer.

    Raises:
        TypeError: if its `fc` is not a linear layer.
    """
    head = model.fc
    if not isinstance(head, nn.Linear):
        raise TypeError(f"`fc` of the ResNet must be a linear layer; got {type(head).__name__}")
    model.fc = nn.Identity()
    return model.requires_grad_(False).train(False), head.requires_grad_(False)


def surrogate(body: nn.Module, head: nn.Linear) -> Surrogate:
    """Returns the function from images (B, 3, S, S) in [0, 1], which it normalises, to logits."""
    return lambda images: F.linear(_features(body, images), head.weight, head.bias)


def train_head(
    body: nn.Module, images: Callable[[Tensor], Tensor], labels: Tensor, n_classes: int, params: HeadParams
) -> nn.Linear:
    """Trains a last layer for `n_classes`, from zero, on the features of N labelled images.

    Equal arguments give equal weights on one machine.

    Args:
        body: the frozen network without its last layer.
        images: returns the pixels (B, 3, S, S) in [0, 1] at indices (B,). It is called once for each image, in batches:
            the body is frozen, so only the features stay in memory.
        labels: (N,).
        n_classes: K.
        params: settings of the training.

    Returns:
        The layer, frozen.
    """
    batches = torch.split(torch.arange(len(labels)), params.batch_size)
    with torch.no_grad():
        features = torch.cat([_features(body, images(indices)) for indices in batches])
    generator = torch.Generator().manual_seed(params.seed)
    with torch.random.fork_rng(devices=[]):  # what the layer draws from the global generator is not used
        head = nn.Linear(features.shape[1], n_classes).to(features.device)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(head.parameters(), lr=params.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.epochs)
    for _ in range(params.epochs):
        for batch in torch.split(torch.randperm(len(features), generator=generator), params.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(head(features[batch]), labels[batch].to(features.device))
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
    head.requires_grad_(False)
    return head


def _features(body: nn.Module, images: Tensor) -> Tensor:
    images = images.to(next(body.parameters()).device)
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    features: Tensor = body((images - mean) / std)
    return features
