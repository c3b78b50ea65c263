"""Computes the answers of a document without noise again: those of the base classifier for other renderings."""

import torch

from certrad.models.certificates.statement import Statement
from certrad.models.images.model_input import ModelInput
from certrad.models.replay.near_ties import EXACT, NearTies
from certrad.models.replay.rebuild import Rebuilt
from certrad.models.smoothing import labels
from certrad.models.smoothing.unsmoothed import batched_logits


def check_answers(statement: Statement, rebuilt: Rebuilt, image: ModelInput, *, tolerant: bool) -> str:
    """Checks that every listed rendering has its answer.

    Args:
        statement: The parsed document, with a claim about renderings without noise.
        rebuilt: Its classifier.
        image: The model input, with those of the renderings.
        tolerant: Whether answers may differ in near-ties, see `Rebuilt.may_differ`.

    Returns:
        A sentence that says what agrees.

    Raises:
        ValueError: An answer differs that may not, or too many do.
    """
    rows = () if statement.unsmoothed is None else statement.unsmoothed.rows
    if not rows:
        return "no rendering was tried"
    allowed = NearTies.of(rebuilt.backbone.dtype, rebuilt.backbone.logit_scale) if tolerant else EXACT
    seen = [variant.pixels for variant in image.variants]
    found = torch.cat([*batched_logits(seen, rebuilt.classifier(statement.params.sigma), rebuilt.sampler)])
    stated = torch.tensor([row.label for row in rows])
    differ = torch.from_numpy(labels(found).astype("int64")) != stated
    wrong, tied = int((differ & ~allowed.allow(found, stated)).sum()), int(differ.sum())
    if wrong or allowed.too_many(tied, len(rows), statement.params.alpha):
        raise ValueError(f"{int(differ.sum())} of {len(rows)} renderings have another answer here")
    return f"{len(rows) - tied} of {len(rows)} renderings have their answer without noise" + (
        f", {tied} differ in a near-tie" if tied else ""
    )
