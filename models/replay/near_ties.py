"""Near-ties: samples whose label may differ on another processor, whose rounding can change the order of logits."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from certrad.models.smoothing import clopper_pearson_lower

_MEASURED: Final = {torch.float32: (64.0, 1e-4), torch.bfloat16: (4.0, 0.02), torch.float16: (4.0, 0.02)}
"""dtype -> (margin as a cosine similarity in units of its rounding, share): docs/mathematics.md, 7.1.

For bfloat16 the margin is about twice what `python -m certrad.bench instruction-sets` finds (4 against 2.1), and for
float32 about four times (64 against 14.3). The rounding of float16 is measured in its own
units; its sums are as long as those of bfloat16, so the factor is the same.
"""


@dataclass(frozen=True, slots=True)
class NearTies:
    """The labels that another processor may give.

    Attributes:
        margin: A logit that lies less than this below the largest one is in a near-tie with it; 0 where none is.
        share: Largest share of samples whose label may differ, from 0 to 1.
    """

    margin: float
    share: float

    @staticmethod
    def of(dtype: torch.dtype, logit_scale: float) -> "NearTies":
        """Returns the near-ties of an image encoder.

        Args:
            dtype: The precision of the encoder.
            logit_scale: The factor of the cosine similarity.
        """
        units, share = _MEASURED[dtype]
        return NearTies(margin=logit_scale * units * torch.finfo(dtype).eps, share=share)

    def allow(self, logits: Tensor, stated: Tensor) -> Tensor:
        """Returns which samples may have the stated label.

        The logit of the stated class must lie less than the margin below the largest. A sample of which either machine
        has no finite logits is no near-tie.

        Args:
            logits: Logits of the samples on this machine, (B, K).
            stated: Labels that the document states, (B,), from 0 to K.

        Returns:
            Booleans, (B,).
        """
        known = (stated < logits.shape[1]) & logits.isfinite().all(dim=1)
        of_stated = logits.gather(1, stated.clamp(max=logits.shape[1] - 1)[:, None])[:, 0]
        return known & (logits.amax(dim=1) - of_stated < self.margin)

    def too_many(self, differ: int, replayed: int, alpha: float) -> bool:
        """Returns whether more labels differ than another processor explains, with confidence 1 - alpha.

        Args:
            differ: Samples whose label differs in a near-tie.
            replayed: All samples that were drawn again.
            alpha: Error probability in (0, 1).
        """
        return clopper_pearson_lower(differ, replayed, alpha) > self.share


EXACT: Final = NearTies(margin=0.0, share=0.0)
"""No label may differ."""
