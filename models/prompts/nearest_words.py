"""What context vectors say in words: the tokens nearest to each, beside what is nearest to random vectors.

CoOp (Zhou et al. 2022, table 4) lists the words nearest by Euclidean distance in the token table of the same backbone.
Some token is the nearest to any vector at all, so that the distance means something only beside a random one's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors
from certrad.models.randomness import seeded

_TOGETHER = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NearWord:
    """A token as the vocabulary spells it, its id, and its Euclidean distance in the space of word embeddings."""

    word: str
    token: int
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Distances of random vectors to the token nearest to each.

    mean, std: over the draws. share_nearer: of the draws that are as near to a token as the context vector is, or
        nearer; a vector that learned a word has a small one.
    """

    mean: float
    std: float
    share_nearer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpretation:
    """One context vector.

    class_index: of class-specific vectors; None where all classes share them. place: in the prompt, from 0.
    words: the nearest first. same_norm: what random directions of the same length are near to.
    """

    class_index: int | None
    place: int
    norm: float
    words: tuple[NearWord, ...]
    same_norm: Chance


def nearest_words(backbone: Backbone, vectors: Tensor, top: int = 5) -> list[tuple[NearWord, ...]]:
    """The `top` nearest tokens of each of the vectors (V, d), the nearest first; 1 <= top <= size of the vocabulary."""
    spelled = backbone.vocabulary()
    if not 1 <= top <= len(spelled):
        raise ValueError(f"top must be in 1..{len(spelled)}, got {top!r}")
    table = _token_table(backbone, len(spelled))
    found = []
    for part in vectors.float().split(_TOGETHER):  # type: ignore[no-untyped-call]
        distances = torch.cdist(part, table, compute_mode="donot_use_mm_for_euclid_dist")
        values, tokens = distances.topk(top, dim=1, largest=False)
        for of_vector in zip(values.tolist(), tokens.tolist(), strict=True):
            near = zip(*of_vector, strict=True)
            found.append(tuple(NearWord(word=spelled[token], token=token, distance=d) for d, token in near))
    return found


def interpret(
    backbone: Backbone, context: ContextVectors, *, top: int = 5, draws: int = 100, seed: int = 0
) -> list[Interpretation]:
    """Every context vector with its nearest words and what chance makes of as many random vectors as `draws`."""
    vectors = context.vectors.reshape(-1, context.vectors.shape[-1])
    table = _token_table(backbone, len(backbone.vocabulary()))
    generator = seeded(seed, "random words")
    directions = F.normalize(torch.randn((draws, backbone.text_width), generator=generator), dim=-1)
    along, squares = directions @ table.T, table.square().sum(dim=1)
    found = []
    for index, (vector, words) in enumerate(zip(vectors, nearest_words(backbone, vectors, top), strict=True)):
        norm, distance = float(vector.norm()), words[0].distance
        found.append(
            Interpretation(
                class_index=index // context.n_ctx if context.class_specific else None,
                place=index % context.n_ctx,
                norm=norm,
                words=words,
                same_norm=_chance(_nearest(norm, along, squares), distance),
            )
        )
    return found


def _token_table(backbone: Backbone, size: int) -> Tensor:
    return backbone.embed_tokens(list(range(size))).detach().float().cpu()


def _nearest(length: float, along: Tensor, squares: Tensor) -> Tensor:
    """Distance (n,) of the vectors r·u, of one length r and n directions u, to the token t nearest to each.

    along: u·t (n, V). squares: ‖t‖² (V,).
    """
    squared = length**2 + torch.sub(squares, along, alpha=2 * length).amin(dim=1)
    return squared.clamp_min(0).sqrt()


def _chance(nearest: Tensor, distance: float) -> Chance:
    return Chance(
        mean=float(nearest.mean()),
        std=float(nearest.std(correction=0)),
        share_nearer=float((nearest <= distance).double().mean()),
    )
