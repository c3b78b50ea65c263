"""Answers of the base classifier without noise, in batches of the block size of the certificate.

The composition of a batch may change the last bit of a logit, so a replay makes the same batches.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from certrad.models.smoothing.sampling import BaseClassifier, NoisySampler


def batched_logits(
    images: Iterable[NDArray[Any]], base_classifier: BaseClassifier, sampler: NoisySampler
) -> Iterator[Tensor]:
    """Yields the logits of images, without noise, a batch at a time.

    Args:
        images: Model inputs, (channels, rows, columns).
        base_classifier: The classifier that is smoothed.
        sampler: That of the file itself: names the device and the batch size; the last batch is padded to it.
    """
    left = iter(images)
    while batch := list(islice(left, sampler.batch_size)):
        pixels = torch.from_numpy(np.stack(batch)).to(sampler.device)
        padded = F.pad(pixels, (0, 0) * 3 + (0, sampler.batch_size - len(batch)))
        with torch.inference_mode():
            yield base_classifier.logits(padded)[: len(batch)].cpu()
