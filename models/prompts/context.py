"""Context vectors, and the text features of class names with vectors before, behind or around them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.types.cards import ContextPosition

INITIAL_STD: Final = 0.02
"""Standard deviation of random context vectors (CoOp, Zhou et al. 2022)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextVectors:
    """Learned word embeddings of a prompt, float32: (M, d) for all classes, or (K, M, d) with vectors for each class.

    A prompt reads [SOT] vectors[:n_before] tail class-name vectors[n_before:] . [EOT].

    Attributes:
        vectors: (M, d) or (K, M, d).
        position: `end`, `middle` or `front`: the class name follows the vectors, lies between them, or comes first.
        split: number of vectors before the name in the `middle` position; None means half of them, as in CoOp.
        tail: ids of frozen tokens between the vectors and the class name.
    """

    vectors: Tensor
    position: ContextPosition = "end"
    split: int | None = None
    tail: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.vectors.dtype != torch.float32 or self.vectors.ndim not in (2, 3) or 0 in self.vectors.shape:
            raise ValueError(
                f"vectors must be float32 of shape (M, d) or (K, M, d), "
                f"got {self.vectors.dtype} {tuple(self.vectors.shape)}"
            )
        if self.position not in ("end", "middle", "front"):
            raise ValueError(f"position must be 'end', 'middle' or 'front', got {self.position!r}")
        if self.split is not None and (self.position != "middle" or not 0 <= self.split <= self.n_ctx):
            raise ValueError(f"split must be in 0..{self.n_ctx}, and only for the middle position, got {self.split!r}")

    @property
    def n_ctx(self) -> int:
        """M, the number of vectors in one prompt."""
        return self.vectors.shape[-2]

    @property
    def class_specific(self) -> bool:
        """Returns whether every class has vectors of its own."""
        return self.vectors.ndim == 3

    @property
    def n_before(self) -> int:
        """The number of vectors before the class name."""
        half = self.n_ctx // 2 if self.split is None else self.split
        return {"end": self.n_ctx, "middle": half, "front": 0}[self.position]

    def with_vectors(self, vectors: Tensor) -> "ContextVectors":
        """Returns the same prompt with other vectors, detached from any graph."""
        return replace(self, vectors=vectors.detach().clone())

    @staticmethod
    def random(
        n_ctx: int,
        width: int,
        generator: torch.Generator,
        *,
        n_classes: int | None = None,
        position: ContextPosition = "end",
    ) -> "ContextVectors":
        """Returns vectors from N(0, 0.02²), on the CPU.

        Args:
            n_ctx: M, the number of vectors in one prompt.
            width: d, the width of a word embedding.
            generator: the source of randomness.
            n_classes: K for class-specific vectors, or None.
            position: the position of the class name.
        """
        shape = (n_ctx, width) if n_classes is None else (n_classes, n_ctx, width)
        return ContextVectors(vectors=torch.randn(shape, generator=generator) * INITIAL_STD, position=position)

    @staticmethod
    def from_text(
        backbone: Backbone, before: str, after: str = "", *, context: Literal["words", "tokens"] = "tokens"
    ) -> "ContextVectors":
        """Returns the embeddings of the words before and after a class name as vectors.

        Args:
            backbone: embeds the words.
            before: the words before the class name.
            after: the words after it.
            context: `tokens` makes every token learnable. `words` makes as many leading tokens learnable as `before`
                has *words*, freezes the remaining ones, and drops `after`: the released code of PromptSmooth counts so,
                and CoOp before it.

        Raises:
            Rejected: invalid_request when no token would be learnable.
        """
        ids_before, ids_after = backbone.tokenize(before), backbone.tokenize(after)
        tail: tuple[int, ...] = ()
        if context == "words":
            n_words = len(before.split())
            ids_before, tail, ids_after = ids_before[:n_words], tuple(ids_before[n_words:]), []
        ids = ids_before + ids_after
        if not ids:
            raise Rejected("invalid_request", "the template has no word beside the class name that could be adapted")
        vectors = backbone.embed_tokens(ids).detach().float().cpu().clone()
        if not ids_after:
            return ContextVectors(vectors=vectors, tail=tail)
        if not ids_before:
            return ContextVectors(vectors=vectors, position="front")
        return ContextVectors(vectors=vectors, position="middle", split=len(ids_before))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptLayout:
    """The prompts of all classes with free places for the context vectors.

    Attributes:
        embeddings: (K, L, d) of every token, with placeholders where context vectors go.
        places: (K, M) positions of the context vectors.
        eot_index: (K,) positions of the end-of-text tokens.
    """

    embeddings: Tensor
    places: Tensor
    eot_index: Tensor

    def features(self, backbone: Backbone, vectors: Tensor) -> Tensor:
        """Returns L2-normalised text features (K, D), float32, differentiable in `vectors` (M, d) or (K, M, d)."""
        n_classes, n_ctx = self.places.shape
        index = self.places.unsqueeze(-1).expand(n_classes, n_ctx, vectors.shape[-1])
        prompts = self.embeddings.scatter(1, index, vectors.to(self.embeddings.device).expand(index.shape))
        return F.normalize(backbone.encode_prompts(prompts, self.eot_index), dim=-1)


def layout(backbone: Backbone, class_names: Sequence[str], context: ContextVectors) -> PromptLayout:
    """Returns the layout of the prompts of all classes.

    Underscores of a class name become spaces, and a full stop follows the name.

    Args:
        backbone: tokenizes and embeds the prompts.
        class_names: K names.
        context: the context vectors.

    Raises:
        Rejected: prompt_too_long; prompt_mismatch when the vectors are of another width or number of classes.
    """
    if context.vectors.shape[-1] != backbone.text_width:
        raise Rejected(
            "prompt_mismatch",
            f"context vectors must have width {backbone.text_width}; got {context.vectors.shape[-1]}",
        )
    if context.class_specific and len(context.vectors) != len(class_names):
        raise Rejected(
            "prompt_mismatch",
            f"the context vectors are for {len(context.vectors)} classes; got {len(class_names)} class names",
        )
    placeholder, before = -1, context.n_before
    prompts = []
    for name in class_names:
        ids, length = class_tokens(backbone, name)
        vectors_before, vectors_after = [placeholder] * before, [placeholder] * (context.n_ctx - before)
        prompts.append([*vectors_before, *context.tail, *ids[:length], *vectors_after, *ids[length:]])
    places = [[1 + i for i, token in enumerate(prompt) if token == placeholder] for prompt in prompts]
    embeddings, eot_index = _embed(backbone, [[max(token, 0) for token in prompt] for prompt in prompts])
    return PromptLayout(
        embeddings=embeddings, places=torch.tensor(places, device=embeddings.device), eot_index=eot_index
    )


def text_features(backbone: Backbone, class_names: Sequence[str], context: ContextVectors) -> Tensor:
    """Returns L2-normalised text features (K, D) of class names under a learned prompt, differentiable in it."""
    return layout(backbone, class_names, context).features(backbone, context.vectors)


def template_features(backbone: Backbone, class_names: Sequence[str], template: str) -> Tensor:
    """Returns L2-normalised text features (K, D) of the class names put into a hand-written template, verbatim."""
    embeddings, eot_index = _embed(backbone, template_tokens(backbone, class_names, template))
    return F.normalize(backbone.encode_prompts(embeddings, eot_index), dim=-1)


def template_tokens(backbone: Backbone, class_names: Sequence[str], template: str) -> list[list[int]]:
    """Returns the token ids of the class names put into a hand-written template, verbatim.

    Args:
        backbone: tokenizes the texts.
        class_names: K names.
        template: text with one `{}`.
    """
    return [backbone.tokenize(template.replace("{}", _spell_out(name))) for name in class_names]


def class_tokens(backbone: Backbone, name: str) -> tuple[list[int], int]:
    """Returns the token ids of a class name with its full stop, and how many of them are the name's.

    Args:
        backbone: tokenizes the name.
        name: the class name; its underscores become spaces.
    """
    spelled = _spell_out(name)
    # Together, as CoOp does: a name may end in punctuation.
    return backbone.tokenize(spelled + "."), len(backbone.tokenize(spelled))


def _spell_out(name: str) -> str:
    return name.replace("_", " ")


def _embed(backbone: Backbone, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Returns embeddings (K, L, d) of the prompts with start and end token, padded to one length, and the ends (K,).

    Raises:
        Rejected: prompt_too_long.
    """
    longest = max(map(len, prompts)) + 2
    if longest > backbone.context_length:
        raise Rejected("prompt_too_long", f"a prompt may have at most {backbone.context_length} tokens; got {longest}")
    rows = [[backbone.start_token, *prompt, backbone.end_token] for prompt in prompts]
    length = backbone.padded_length(longest)
    padded = [row + [backbone.pad_token] * (length - len(row)) for row in rows]
    embeddings = backbone.embed_tokens([token for row in padded for token in row])
    eot_index = torch.tensor([len(row) - 1 for row in rows], device=embeddings.device)
    return embeddings.view(len(rows), length, -1), eot_index
