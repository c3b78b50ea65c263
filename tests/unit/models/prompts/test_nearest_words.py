"""The words nearest to context vectors are found, beside what chance makes of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.nearest_words import interpret, nearest_words
from certrad.models.randomness import seeded
from certrad.models.shipped import shipped_tasks
from certrad.workers.cli.main import main
from tests.support import bert_models, tiny_clip

TASK = shipped_tasks()["mednist"]


@pytest.fixture(scope="module", params=["byte_pair", "word_piece"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    directory = tmp_path_factory.mktemp("backbone")
    if request.param == "byte_pair":
        return tiny_clip.tiny_backbone(directory)
    return bert_models.tiny_backbone("medclip", directory)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


def test_a_tokens_own_embedding_is_nearest_to_that_token(backbone: Backbone) -> None:
    tokens = backbone.tokenize("normal chest x-ray")
    near = nearest_words(backbone, backbone.embed_tokens(tokens), top=2)
    assert [of_vector[0].token for of_vector in near] == tokens
    assert [of_vector[0].distance for of_vector in near] == [0.0] * len(tokens)
    spelled = "".join(of_vector[0].word.removeprefix("##").removesuffix("</w>") for of_vector in near)
    assert spelled == "normalchestx-ray"


def test_the_nearest_come_first_with_their_euclidean_distances(backbone: Backbone) -> None:
    vectors = torch.randn((3, backbone.text_width), generator=torch.Generator().manual_seed(0))
    table = backbone.embed_tokens(list(range(len(backbone.vocabulary())))).double()
    for vector, found in zip(vectors, nearest_words(backbone, vectors, top=4), strict=True):
        expected = (table - vector.double()).norm(dim=1).sort()
        assert [near.distance for near in found] == pytest.approx(expected.values[:4].tolist(), rel=1e-5)
        assert [near.token for near in found] == expected.indices[:4].tolist()


def test_every_token_has_a_spelling(backbone: Backbone) -> None:
    spelled = backbone.vocabulary()
    assert len(backbone.embed_tokens(list(range(len(spelled))))) == len(spelled)
    assert all(spelled)


def test_tokens_of_other_scripts_are_shown_as_they_are(clip: Backbone) -> None:
    spelled = clip.vocabulary()
    assert {"❤</w>", "우", "ะ"} <= set(spelled)
    for text in ("café", "健康", "❤"):
        words = "".join(spelled[token] for token in clip.tokenize(text))
        assert words.replace("</w>", "") in (text, *_half_characters(clip, text))


def _half_characters(backbone: Backbone, text: str) -> list[str]:
    """The vocabulary's own spelling of a text, where its tokens are less than characters."""
    from open_clip.tokenizer import SimpleTokenizer

    decoder = SimpleTokenizer().decoder
    return ["".join(decoder[token] for token in backbone.tokenize(text)).replace("</w>", "")]


def test_a_random_vector_is_as_near_to_a_word_as_chance_has_it(clip: Backbone) -> None:
    generator = torch.Generator().manual_seed(3)
    random = ContextVectors(vectors=torch.randn((12, clip.text_width), generator=generator) * 0.1)
    shares = [vector.same_norm.share_nearer for vector in interpret(clip, random)]
    # Each is nearly uniform: the mean of 12 is below 0.05 with a probability of 0.6^12 / 12! < 1e-11 (Irwin-Hall).
    assert 0.05 < sum(shares) / len(shares) < 0.95


def test_a_word_is_nearer_than_chance(clip: Backbone) -> None:
    words = ContextVectors.from_text(clip, "chest x-ray")
    noisy = words.with_vectors(words.vectors + 0.001)
    for vector in interpret(clip, noisy):
        assert vector.same_norm.share_nearer == 0.0
        assert vector.same_norm.mean > 10 * vector.words[0].distance


def test_chance_is_of_random_vectors_of_the_same_norm(clip: Backbone) -> None:
    (vector,) = interpret(clip, ContextVectors(vectors=torch.full((1, clip.text_width), 0.1)), draws=20)
    directions = torch.randn((20, clip.text_width), generator=seeded(0, "random words"))
    random = 0.1 * clip.text_width**0.5 * F.normalize(directions, dim=-1).double()
    table = clip.embed_tokens(list(range(len(clip.vocabulary())))).double()
    nearest = torch.cdist(random, table).amin(dim=1)
    assert vector.norm == pytest.approx(0.1 * clip.text_width**0.5)
    assert vector.same_norm.mean == pytest.approx(float(nearest.mean()), rel=1e-4)
    assert vector.same_norm.std == pytest.approx(float(nearest.std(correction=0)), rel=1e-3)
    share = float((nearest <= vector.words[0].distance).double().mean())
    assert 0 < share < 1
    assert vector.same_norm.share_nearer == pytest.approx(share)


def test_class_specific_vectors_keep_class_and_place(clip: Backbone) -> None:
    generator = torch.Generator().manual_seed(0)
    context = ContextVectors.random(3, clip.text_width, generator, n_classes=2)
    found = interpret(clip, context, top=1)
    assert [(vector.class_index, vector.place) for vector in found] == [
        (label, place) for label in range(2) for place in range(3)
    ]
    single = interpret(clip, replace(context, vectors=context.vectors[1]), top=1)
    assert [vector.words for vector in single] == [vector.words for vector in found[3:]]
    assert single[0].class_index is None


def test_one_seed_gives_one_baseline(clip: Backbone) -> None:
    context = ContextVectors.from_text(clip, "chest")
    assert interpret(clip, context) == interpret(clip, context)
    assert interpret(clip, context)[0].same_norm != interpret(clip, context, seed=1)[0].same_norm


@pytest.mark.parametrize("top", [0, 10**6])
def test_more_words_than_there_are_cannot_be_asked_for(clip: Backbone, top: int) -> None:
    with pytest.raises(ValueError, match="top must be in"):
        nearest_words(clip, torch.zeros((1, clip.text_width)), top)


# -- certrad prompts words ------------------------------------------------------------------------------------------


def test_the_command_prints_the_words_of_a_shipped_prompt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert (
        main(["prompts", "words", TASK.default_prompt or "", "--top", "2", "--json", "--data-dir", str(tmp_path)]) == 0
    )
    document = json.loads(capsys.readouterr().out)
    (vectors,) = document["prompts"]
    assert len(vectors) == 6 * 5
    assert len(vectors[0]["words"]) == 2
    assert main(["prompts", "words", TASK.default_prompt or "", "--top", "2", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"abdomen CT, vector 1, norm {vectors[0]['norm']:.4f}: {vectors[0]['words'][0]['word']}")
    assert "random vectors of this norm" in lines[2]


def test_the_command_knows_every_prompt_of_a_bank(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["prompts", "words", TASK.default_bank or "", "--top", "1", "--json", "--data-dir", str(tmp_path)]) == 0
    assert len(json.loads(capsys.readouterr().out)["prompts"]) == 8


@pytest.mark.parametrize("prompt_id", ["nonsense", "../../etc/passwd", f"mednist-coop-{'0' * 16}"])
def test_an_unknown_prompt_is_bad_usage(prompt_id: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["prompts", "words", "--data-dir", str(tmp_path), "--", prompt_id]) == 2
    said = capsys.readouterr().err
    assert said.startswith("certrad: `ID` must be one of ")
    assert str(TASK.default_bank) in said
