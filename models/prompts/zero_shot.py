"""Zero-Shot PromptSmooth: context vectors adapted to one image without a label (PromptSmooth, MICCAI 2024, eq. 2)."""

import math
from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors, layout
from certrad.models.types import ZeroShotAdaptation

BETAS: Final = (0.9, 0.999)
EPS: Final = 1e-8
WEIGHT_DECAY: Final = 0.01


def initial_context(backbone: Backbone, template: str, context: Literal["words", "tokens"]) -> ContextVectors:
    """Returns the context vectors from which a template is adapted: its words before and after the class name.

    A full stop always follows, so one at the end of the template is not learned a second time. With the context
    `tokens`, a template that ends in a full stop gives its own text features before the first step.

    Args:
        backbone: embeds the words.
        template: text with one `{}` for the class name.
        context: see `ContextVectors.from_text`.

    Raises:
        Rejected: invalid_request for a template without a word that could be learned.
    """
    before, _, after = template.partition("{}")
    return ContextVectors.from_text(backbone, before, after.strip().removesuffix("."), context=context)


def adapt(
    backbone: Backbone,
    features: Tensor,
    class_names: Sequence[str],
    initial: ContextVectors,
    params: ZeroShotAdaptation,
) -> ContextVectors:
    """Returns context vectors that make the mean prediction over noisy copies of one image more certain.

    Each of the `params.steps` AdamW steps lowers the entropy of the mean softmax, in float32 and without loss scaling,
    whose overflow would silently skip the step. Every call starts from `initial` with empty optimizer state.

    Args:
        backbone: the frozen backbone.
        features: (T, D) image features of T = `params.samples` noisy copies; encoded once, used in every step.
        class_names: K names.
        initial: the vectors to start from.
        params: steps, samples and learning rate.

    Raises:
        ValueError: for another number of features.
    """
    if len(features) != params.samples:
        raise ValueError(f"features must be of {params.samples} noisy copies, got {len(features)}")
    with torch.inference_mode(False), torch.enable_grad():
        # Cloned: tensors made in inference mode cannot take part in a graph.
        images = F.normalize(features.detach().clone().to(backbone.device, torch.float32), dim=-1)
        vectors = initial.vectors.detach().clone().to(backbone.device).requires_grad_(True)
        prompts = layout(backbone, class_names, initial)
        optimizer = torch.optim.AdamW([vectors], lr=params.lr, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY)
        for _ in range(params.steps):
            optimizer.zero_grad()
            logits = backbone.logit_scale * images @ prompts.features(backbone, vectors).T
            torch.autograd.backward(entropy_of_mean(logits))
            optimizer.step()
    return initial.with_vectors(vectors.cpu())


def entropy_of_mean(logits: Tensor) -> Tensor:
    """Returns the entropy, in nats, of the mean softmax of logits (T, K): 0 ≤ H ≤ ln K (PromptSmooth eq. 2)."""
    log_mean = torch.logsumexp(F.log_softmax(logits, dim=-1), dim=0) - math.log(len(logits))
    return -(log_mean * log_mean.exp()).sum()
