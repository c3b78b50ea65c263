"""Context vectors in words: the tokens nearest to each, compared with those nearest to random vectors.

CoOp (Zhou et al. 2022, table 4) lists the words nearest by Euclidean distance in the token table of the same backbone.
Every vector has some nearest token, so the distance means something only beside that of a random vector.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors
from certrad.models.randomness import seeded

_TOGETHER: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NearWord:
    """A token near to a context vector.

    Attributes:
        word: the token as the vocabulary spells it.
        token: its id.
        distance: its Euclidean distance in the space of word embeddings.
    """

    word: str
    token: int
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Distances of random vectors to the token nearest to each.

    Attributes:
        mean: mean over the draws.
        std: standard deviation over the draws.
        share_nearer: share of draws at least as near to a token as the context vector is; small for a vector that
            learned a word.
    """

    mean: float
    std: float
    share_nearer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpretation:
    """One context vector with its nearest words.

    Attributes:
        class_index: class of a class-specific vector; None where all classes share it.
        place: place in the prompt, from 0.
        norm: its Euclidean length.
        words: the nearest words, the nearest first.
        same_norm: how near random directions of the same length come to a token.
    """

    class_index: int | None
    place: int
    norm: float
    words: tuple[NearWord, ...]
    same_norm: Chance


def nearest_words(backbone: Backbone, vectors: Tensor, top: int = 5) -> list[tuple[NearWord, ...]]:
    """Returns the nearest tokens of each vector, the nearest first.

    Args:
        backbone: the backbone with the token table.
        vectors: (V, d).
        top: number of tokens, from 1 to the size of the vocabulary.

    Raises:
        ValueError: for another `top`.
    """
    spelled = backbone.vocabulary()
    if not 1 <= top <= len(spelled):
        raise ValueError(f"top must be in 1..{len(spelled)}, got {top!r}")
    table = _token_table(backbone, len(spelled))
    nearest = []
    for part in vectors.float().split(_TOGETHER):  # type: ignore[no-untyped-call]
        distances = torch.cdist(part, table, compute_mode="donot_use_mm_for_euclid_dist")
        values, tokens = distances.topk(top, dim=1, largest=False)
        for of_vector in zip(values.tolist(), tokens.tolist(), strict=True):
            pairs = zip(*of_vector, strict=True)
            nearest.append(tuple(NearWord(word=spelled[token], token=token, distance=d) for d, token in pairs))
    return nearest


def interpret(
    backbone: Backbone, context: ContextVectors, *, top: int = 5, draws: int = 100, seed: int = 0
) -> list[Interpretation]:
    """Returns every context vector with its nearest words, and how near random vectors come.

    Args:
        backbone: the backbone with the token table.
        context: the context vectors.
        top: number of words for each vector.
        draws: number of random vectors.
        seed: random seed.
    """
    vectors = context.vectors.reshape(-1, context.vectors.shape[-1])
    table = _token_table(backbone, len(backbone.vocabulary()))
    generator = seeded(seed, "random words")
    directions = F.normalize(torch.randn((draws, backbone.text_width), generator=generator), dim=-1)
    along, squares = directions @ table.T, table.square().sum(dim=1)
    interpretations = []
    for index, (vector, words) in enumerate(zip(vectors, nearest_words(backbone, vectors, top), strict=True)):
        norm, distance = float(vector.norm()), words[0].distance
        interpretations.append(
            Interpretation(
                class_index=index // context.n_ctx if context.class_specific else None,
                place=index % context.n_ctx,
                norm=norm,
                words=words,
                same_norm=_chance(_nearest(norm, along, squares), distance),
            )
        )
    return interpretations


def _token_table(backbone: Backbone, size: int) -> Tensor:
    return backbone.embed_tokens(list(range(size))).detach().float().cpu()


def _nearest(length: float, along: Tensor, squares: Tensor) -> Tensor:
    """Returns the distances (n,) of vectors r·u, of one length r and n directions u, to the token t nearest to each.

    Args:
        length: r.
        along: u·t (n, V).
        squares: ‖t‖² (V,).
    """
    squared = length**2 + torch.sub(squares, along, alpha=2 * length).amin(dim=1)
    return squared.clamp_min(0).sqrt()


def _chance(nearest: Tensor, distance: float) -> Chance:
    return Chance(
        mean=float(nearest.mean()),
        std=float(nearest.std(correction=0)),
        share_nearer=float((nearest <= distance).double().mean()),
    )
