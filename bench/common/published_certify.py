"""CERTIFY as its authors' code does it (Cohen et al. 2019, `code/core.py` of github.com/locuslab/smoothing).

The noise comes from the generator of torch in float32, the labels are counted one by one, one Clopper-Pearson bound at
alpha is made with p_B = 1 - p_A, and the radius is not rounded. Nothing of it is certrad's but the base classifier.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from certrad.models.types import SmoothingParams


def certify(
    logits: Callable[[Tensor], Tensor],
    image: Tensor,
    params: SmoothingParams,
    *,
    n_classes: int,
    batch_size: int,
) -> tuple[int | None, float]:
    """Returns the class and its radius; None and 0 is an abstention.

    Args:
        logits: The base classifier, from pixels (B, 3, H, W) of [0, 1] to logits (B, K).
        image: (3, H, W), pixels of [0, 1].
        params: sigma, alpha, n0 and n count.
        n_classes: The number K of classes.
        batch_size: Samples of one batch.
    """
    selection = _counts(logits, image, params.n0, params.sigma, n_classes, batch_size)
    top = int(selection.argmax())
    successes = int(_counts(logits, image, params.n, params.sigma, n_classes, batch_size)[top])
    lower = float(stats.beta.ppf(params.alpha, successes, params.n - successes + 1)) if successes else 0.0
    if lower < 0.5:
        return None, 0.0
    return top, params.sigma * float(stats.norm.ppf(lower))


@torch.no_grad()
def _counts(
    logits: Callable[[Tensor], Tensor], image: Tensor, n: int, sigma: float, n_classes: int, batch_size: int
) -> NDArray[np.int64]:
    counts = np.zeros(n_classes, dtype=np.int64)
    while n > 0:
        batch = image.repeat(min(n, batch_size), 1, 1, 1)
        n -= len(batch)
        for label in logits(batch + torch.randn_like(batch) * sigma).argmax(1).cpu().numpy():
            counts[label] += 1
    return counts
