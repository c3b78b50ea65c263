"""Context vectors: soft prompts that spell real words are those words."""

from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.context import ContextVectors, template_features, text_features
from certrad.models.types.cards import ContextPosition
from tests.support import tiny_clip

NAMES = ["adipose_tissue", "mucus", "colorectal adenocarcinoma epithelium"]
SPOKEN = ["adipose tissue", "mucus", "colorectal adenocarcinoma epithelium"]


@pytest.fixture(scope="module", params=["open_clip", "hf_clip"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Any]:
    """A backbone and the library's own model of the same files."""
    directory: Path = tmp_path_factory.mktemp(request.param)
    write: Any = {"open_clip": tiny_clip.write_open_clip, "hf_clip": tiny_clip.write_hf_clip}[request.param]
    model = write(directory)
    return load_backbone(tiny_clip.card(request.param), directory), model


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@torch.no_grad()
def library_features(model: Any, texts: list[str]) -> Tensor:
    ids = SimpleTokenizer()(texts)
    if hasattr(model, "get_text_features"):
        return F.normalize(model.get_text_features(input_ids=ids).pooler_output, dim=-1)
    return F.normalize(model.encode_text(ids), dim=-1)


@pytest.mark.parametrize(
    ("position", "text"),
    [("end", "a photo of a {}."), ("middle", "a photo {} of a."), ("front", "{} a photo of a.")],
)
def test_vectors_of_real_words_give_the_text_features_of_the_library(
    pair: tuple[Backbone, Any], position: ContextPosition, text: str
) -> None:
    backbone, model = pair
    vectors = backbone.embed_tokens(backbone.tokenize("a photo of a")).clone()
    features = text_features(backbone, NAMES, ContextVectors(vectors=vectors, position=position))
    expected = library_features(model, [text.format(name) for name in SPOKEN])
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


def test_class_specific_vectors_stand_before_their_own_class(pair: tuple[Backbone, Any]) -> None:
    backbone, model = pair
    words = ["a photo of", "an image of", "a slide showing"]
    vectors = torch.stack([backbone.embed_tokens(backbone.tokenize(text)) for text in words])
    features = text_features(backbone, NAMES, ContextVectors(vectors=vectors))
    expected = library_features(model, [f"{text} {name}." for text, name in zip(words, SPOKEN, strict=True)])
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


def test_a_template_is_used_verbatim(pair: tuple[Backbone, Any]) -> None:
    backbone, model = pair
    features = template_features(backbone, NAMES, "a histopathology slide showing {}")
    expected = library_features(model, [f"a histopathology slide showing {name}" for name in SPOKEN])
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


def test_text_features_have_unit_length(backbone: Backbone) -> None:
    context = ContextVectors.random(4, backbone.text_width, torch.Generator().manual_seed(0))
    torch.testing.assert_close(text_features(backbone, NAMES, context).norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_gradients_reach_every_context_vector(backbone: Backbone, position: ContextPosition) -> None:
    context = ContextVectors.random(4, backbone.text_width, torch.Generator().manual_seed(0), position=position)
    context.vectors.requires_grad_(True)
    torch.autograd.backward(text_features(backbone, NAMES, context)[:, 0].sum())
    assert context.vectors.grad is not None
    assert bool((context.vectors.grad.abs().sum(dim=-1) > 0).all())


def test_random_vectors_follow_their_seed() -> None:
    first, again, other = (ContextVectors.random(5, 512, torch.Generator().manual_seed(s)).vectors for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_vectors_have_standard_deviation_0_02() -> None:
    # 512,000 draws: the estimate is within 0.5% but for a probability of 4e-7 (2 · Phi(-5.06)).
    vectors = ContextVectors.random(500, 1024, torch.Generator().manual_seed(0)).vectors
    assert float(vectors.std()) == pytest.approx(0.02, rel=0.005)


def test_random_vectors_are_class_specific_when_asked_for() -> None:
    context = ContextVectors.random(5, 16, torch.Generator(), n_classes=3)
    assert context.vectors.shape == (3, 5, 16)
    assert context.class_specific


@pytest.mark.parametrize(
    ("text", "learnable", "frozen"),
    [
        ("An H&E image patch of", [550, 327, 261, 324, 2867], (8721, 539)),
        ("a histopathology slide showing", [320, 677, 6005, 64], (9881, 8837, 3649)),
        ("An H&E noisy image patch of", [550, 327, 261, 324, 33495, 2867], (8721, 539)),
    ],
)
def test_words_mode_learns_as_many_tokens_as_there_are_words(
    backbone: Backbone, text: str, learnable: list[int], frozen: tuple[int, ...]
) -> None:
    context = ContextVectors.from_text(backbone, text, context="words")
    assert torch.equal(context.vectors, backbone.embed_tokens(learnable))
    assert context.tail == frozen


def test_tokens_mode_learns_every_token(backbone: Backbone) -> None:
    context = ContextVectors.from_text(backbone, "An H&E image patch of", context="tokens")
    assert context.n_ctx == 7
    assert context.tail == ()


def test_frozen_words_stand_between_vectors_and_class_name(pair: tuple[Backbone, Any]) -> None:
    backbone, model = pair
    context = ContextVectors.from_text(backbone, "An H&E image patch of", context="words")
    expected = library_features(model, [f"An H&E image patch of {name}." for name in SPOKEN])
    torch.testing.assert_close(text_features(backbone, NAMES, context), expected, atol=1e-5, rtol=0)


def test_words_behind_the_class_name_are_learned_there(pair: tuple[Backbone, Any]) -> None:
    backbone, model = pair
    context = ContextVectors.from_text(backbone, "a photo of a", ", a type of food")
    expected = library_features(model, [f"a photo of a {name}, a type of food." for name in SPOKEN])
    torch.testing.assert_close(text_features(backbone, NAMES, context), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("n_ctx", "fits"), [(71, True), (72, False)])
def test_a_prompt_is_refused_from_the_first_token_that_does_not_fit(backbone: Backbone, n_ctx: int, fits: bool) -> None:
    names = ["benign", "adipose tissue"]  # start token, n_ctx, three tokens, full stop, end token: 77 in all
    context = ContextVectors.random(n_ctx, backbone.text_width, torch.Generator().manual_seed(0))
    if fits:
        assert text_features(backbone, names, context).shape == (2, backbone.embed_dim)
        return
    with pytest.raises(Rejected) as caught:
        text_features(backbone, names, context)
    assert caught.value.code == "prompt_too_long"


def test_a_template_that_is_too_long_is_refused(backbone: Backbone) -> None:
    with pytest.raises(Rejected) as caught:
        template_features(backbone, NAMES, "very " * 80 + "{}")
    assert caught.value.code == "prompt_too_long"


@pytest.mark.parametrize("shape", [(4, 31), (2, 4, 32)], ids=["another width", "another number of classes"])
def test_vectors_that_do_not_fit_backbone_or_classes_are_refused(backbone: Backbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(Rejected) as caught:
        text_features(backbone, NAMES, ContextVectors(vectors=torch.zeros(shape)))
    assert caught.value.code == "prompt_mismatch"


@pytest.mark.parametrize(
    "fields",
    [
        {"vectors": torch.zeros(4)},
        {"vectors": torch.zeros(0, 4)},
        {"vectors": torch.zeros(4, 4, dtype=torch.float16)},
        {"vectors": torch.zeros(4, 4), "position": "behind"},
        {"vectors": torch.zeros(4, 4), "split": 2},
        {"vectors": torch.zeros(4, 4), "position": "middle", "split": 5},
    ],
)
def test_an_impossible_context_cannot_be_built(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        ContextVectors(**fields)
