"""Tuning of the extra class of a bank, which rejects images that are unlike those the bank was tuned on.

It learns from noisy copies of the shots and of generated images of no class. Then its threshold is set on noisy copies
of other images of the classes, and the share of them that it rejects is measured on yet others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.gate import Gate, mixed_similarities
from certrad.models.prompts.rejection import Rejection
from certrad.models.prompts.training.bank import BankParams, noisy_directions
from certrad.models.prompts.training.outliers import outlier_images, outliers_sha256
from certrad.models.randomness import seeded
from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper
from certrad.models.types.rejection import RejectionCard

OTHERS_MIN: Final = 50
"""The fewest images on which a threshold is set, and on which it is measured."""
_INTERVAL_ALPHA: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionParams:
    """Hyper-parameters of an extra class.

    Attributes:
        false_rejections: the share e of single noisy samples of known images that may get the extra class. A share
            above 0.01 takes more from the radii of known images: no radius exceeds z(1 - e) sigma.
        of_each: generated images of each family.
        copies: noisy copies of each shot at every level; generated images have a quarter of them.
        threshold_copies: noisy copies of each image on which the threshold is set.
        hidden: hidden units of its gate.
        steps: AdamW steps; the learning rate follows half a cosine down to 0.
        batch: noisy copies of shots, and as many of generated images, in a step.
        lr: initial learning rate.
        weight_decay: weight decay.
        seed: random seed.
    """

    false_rejections: float = 0.01
    of_each: int = 40
    copies: int = 40
    threshold_copies: int = 4
    hidden: int = 128
    steps: int = 3000
    batch: int = 512
    lr: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("of_each", "copies", "threshold_copies", "hidden", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)!r}")
        if not 0 < self.false_rejections <= 0.05:
            raise ValueError(f"false_rejections must be in (0, 0.05], got {self.false_rejections!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rivals:
    """Noisy copies with the largest logit of the classes of the bank.

    Attributes:
        directions: (S, M, D), L2-normalised, M copies at each of S levels.
        logits: (S, M), the largest logit of the K classes.
    """

    directions: Tensor
    logits: Tensor

    @staticmethod
    def of(directions: Tensor, bank: Bank, texts: Tensor, scale: float, sigmas: tuple[float, ...]) -> "Rivals":
        """Returns noisy copies (S, N, C, D) with the largest logit that the bank gives each."""
        flat = directions.flatten(1, 2)
        gates = (bank.gate.at(sigma) for sigma in sigmas)
        weighed = zip(flat, gates, strict=True)
        found = [scale * mixed_similarities(each, texts, gate.weights(each)).amax(dim=1) for each, gate in weighed]
        return Rivals(directions=flat, logits=torch.stack(found))


def tune_rejection(
    backbone: Backbone,
    bank: Bank,
    texts: Tensor,
    shots: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    params: RejectionParams,
    bank_params: BankParams,
    *,
    on_stage: Callable[[str], None] = lambda _: None,
) -> tuple[Bank, RejectionCard]:
    """Returns the bank with an extra class, and what its card says about that. Prompts and gate stay as they are.

    The same seed gives the same class, bit for bit, on one machine.

    Args:
        backbone: the frozen backbone.
        bank: the bank; an extra class that it has is replaced.
        texts: text features (B, K, D) of its classes.
        shots: images (N, 3, H, W) in [0, 1] that it was tuned on, and their labels (N,).
        others: images of the classes that are no shots: those on which the threshold is set, and those on which it is
            measured. No image is in both.
        params: hyper-parameters.
        bank_params: its sigmas, and the changes of acquisition of the shots.
        on_stage: called with the name of each finished stage.

    Raises:
        Rejected: too_few_images, for fewer than OTHERS_MIN images in either of `others`.
    """
    if min(map(len, others)) < OTHERS_MIN:
        raise Rejected(
            "too_few_images",
            f"an extra class needs {2 * OTHERS_MIN} images beside the shots, got {sum(map(len, others))}",
        )
    sigmas, scale = tuple(sorted(set(bank_params.sigmas))), backbone.logit_scale
    noise = replace(bank_params, sigmas=sigmas, copies=params.copies, seed=params.seed)
    outliers = outlier_images(*shots, params.of_each, params.seed)
    plain = replace(noise, acquisition=None, copies=max(1, params.copies // 4))

    def rivals(images: Tensor, how: BankParams) -> Rivals:
        directions = noisy_directions(backbone, images, how, on_stage)
        return Rivals.of(directions, bank, texts.cpu(), scale, sigmas)

    with torch.no_grad():
        known, strange = rivals(shots[0], noise), rivals(outliers, plain)
        fit = rivals(others[0], replace(plain, copies=params.threshold_copies, seed=params.seed + 1))
        check = rivals(others[1], replace(plain, copies=1, seed=params.seed + 2))
    rejection = _fit(known, strange, texts.cpu(), scale, sigmas, params)
    on_stage("extra class")
    rejection = with_threshold(rejection, fit, scale, params.false_rejections)
    card = RejectionCard(
        sha256=rejection.sha256,
        false_rejections=params.false_rejections,
        outliers_sha256=outliers_sha256(outliers),
        outliers=len(outliers),
        sigma_range=(sigmas[0], sigmas[-1]),
        measured=tuple(_measured(rejection, check, strange, scale)),
    )
    return replace(bank, rejection=rejection), card


def with_threshold(rejection: Rejection, known: Rivals, scale: float, false_rejections: float) -> Rejection:
    """Returns the extra class with the biases at which at most that share of the copies at each sigma gets it.

    Args:
        rejection: the class.
        known: noisy copies of images of the classes.
        scale: factor of the cosine similarities.
        false_rejections: the share e.
    """
    plain = replace(rejection, biases=(0.0,) * len(rejection.sigmas))
    allowed = int(false_rejections * known.logits.shape[1])
    # The largest margin that must not be above 0: at 0 the class of the bank wins the tie.
    at = (float(margins.sort(descending=True).values[allowed]) for margins in _margins(plain, known, scale))
    return replace(rejection, biases=tuple(-margin for margin in at))


def _margins(rejection: Rejection, copies: Rivals, scale: float) -> list[Tensor]:
    """Returns, for each sigma, by how much the logit of the extra class is above the largest of the others (M,)."""
    levels = zip(rejection.sigmas, copies.directions, copies.logits, strict=True)
    return [rejection.at(sigma).logits(seen, scale).squeeze(1) - most for sigma, seen, most in levels]


def _measured(rejection: Rejection, known: Rivals, outliers: Rivals, scale: float) -> list[dict[str, Any]]:
    """Returns, for each sigma, how many known images get the class, with an interval, and the share of outliers."""
    rows = []
    shares = zip(rejection.sigmas, _margins(rejection, known, scale), _margins(rejection, outliers, scale), strict=True)
    for sigma, of_known, of_outliers in shares:
        hits, n = int((of_known > 0).sum()), len(of_known)
        rows.append(
            {
                "sigma": sigma,
                "images": n,
                "rejected": hits,
                "low": round(clopper_pearson_lower(hits, n, _INTERVAL_ALPHA / 2), 6),
                "high": round(clopper_pearson_upper(hits, n, _INTERVAL_ALPHA / 2), 6),
                "outliers_rejected": round(float((of_outliers > 0).float().mean()), 4),
            }
        )
    return rows


def _fit(
    known: Rivals, outliers: Rivals, texts: Tensor, scale: float, sigmas: tuple[float, ...], params: RejectionParams
) -> Rejection:
    """Returns the class, without a threshold, with the lowest cross-entropy of its logit against the largest other.

    It starts from the mean text feature of every member, with equal weights. Its hidden units see every coordinate of a
    direction centred and scaled to variance 1; that scaling is folded into their weights at the end.
    """
    generator = seeded(params.seed, "rejection")
    both = torch.cat([known.directions.flatten(0, 1), outliers.directions.flatten(0, 1)])
    mean, std = both.mean(0), both.std(0).clamp_min(1e-6)
    layer = _initial(texts, params.hidden, generator)
    hidden, of_sigma, hidden_bias, output, output_bias, features, offset = layer
    optimizer = torch.optim.AdamW(layer, lr=params.lr, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.steps)
    log_sigmas = torch.tensor(sigmas).log()
    truth = torch.cat([torch.zeros(params.batch), torch.ones(params.batch)])
    for _ in range(params.steps):
        drawn = [_drawn(copies, params.batch, generator) for copies in (known, outliers)]
        level, seen, most = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        inner = F.linear((seen - mean) / std, hidden, hidden_bias) + log_sigmas[level].unsqueeze(-1) * of_sigma
        weights = F.linear(F.gelu(inner), output, output_bias)
        similar = mixed_similarities(seen, F.normalize(features, dim=-1).unsqueeze(1), weights).squeeze(1)
        margins = scale * similar + offset[0] + log_sigmas[level] * offset[1] - most
        optimizer.zero_grad()
        torch.autograd.backward(F.binary_cross_entropy_with_logits(margins, truth))
        optimizer.step()
        schedule.step()
    hidden, of_sigma, hidden_bias, output, output_bias, features, _ = (tensor.detach() for tensor in layer)
    gate = Gate(
        hidden=hidden / std,
        of_sigma=of_sigma,
        hidden_bias=hidden_bias - (hidden / std) @ mean,
        output=output,
        output_bias=output_bias,
        sigma_range=(sigmas[0], sigmas[-1]),
    )
    unit = F.normalize(features, dim=-1)
    return Rejection(features=unit, gate=gate, sigmas=sigmas, biases=(0.0,) * len(sigmas))


def _drawn(copies: Rivals, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the levels of n random copies, their directions and the largest logit of each."""
    levels, each = copies.logits.shape
    level, index = (torch.randint(size, (n,), generator=generator) for size in (levels, each))
    return level, copies.directions[level, index], copies.logits[level, index]


def _initial(texts: Tensor, hidden: int, generator: torch.Generator) -> list[Tensor]:
    """Returns random hidden units without influence, equal weights, mean text features, and no offset."""
    members, _, width = texts.shape
    random = (torch.rand((hidden, width + 2), generator=generator) * 2 - 1) / math.sqrt(width + 1)
    layer = [
        random[:, :width].clone(),
        random[:, width].clone(),
        random[:, width + 1].clone(),
        torch.zeros((members, hidden)),
        torch.full((members,), 1 / members),
        texts.mean(1) + 0.02 * torch.randn((members, width), generator=generator),
        torch.zeros(2),
    ]
    return [tensor.requires_grad_(True) for tensor in layer]
