"""MedCLIP and BiomedCLIP equal the libraries' own forward pass, are strict and offline, and take soft prompts."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.context import ContextVectors, layout, template_features, text_features
from certrad.models.prompts.foreign_checkpoint import import_context
from certrad.models.prompts.training.trainer import FewShotParams, image_features, random_context, train_epochs
from certrad.models.prompts.zero_shot import adapt, entropy_of_mean
from certrad.models.prompts.zero_shot import initial_context as context_of_template
from certrad.models.types import BackboneCard, ZeroShotAdaptation
from certrad.workers.offline.fetch import fetch
from tests.support import bert_models

FORMATS = ("medclip", "biomedclip")
NAMES = ["covid", "no lung opacity"]
TEMPLATE = "A X-ray image of {} patient."
WORDS = ["a x - ray image of covid patient .", "a x - ray image of no lung opacity patient ."]
TOLERANCE = 1e-4


def pixels_of(side: int, n: int = 2) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.5


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Never a constant on top of something: a layer norm takes it away."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def normalised(pixels: Tensor, card: BackboneCard) -> Tensor:
    return (pixels - torch.tensor(card.mean).view(1, 3, 1, 1)) / torch.tensor(card.std).view(1, 3, 1, 1)


def tokens(length: int) -> Tensor:
    return torch.tensor([bert_models.ids_of(words, length) for words in WORDS])


@torch.no_grad()
def assert_same_features(backbone: Backbone, model: Any, length: int) -> None:
    pixels = pixels_of(backbone.image_size)
    expected = model.encode_image(normalised(pixels, backbone.card))
    torch.testing.assert_close(backbone.encode_image(pixels), expected, atol=TOLERANCE, rtol=0)
    ours, theirs = template_features(backbone, NAMES, TEMPLATE), F.normalize(model.encode_text(tokens(length)), dim=-1)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)
    assert float((ours[0] - ours[1]).abs().max()) > 10 * TOLERANCE  # else the comparison says nothing
    assert float(expected.std()) > 10 * TOLERANCE


@pytest.fixture
def large_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that is emptied at once: pytest keeps the files of its last three runs."""
    yield tmp_path / "model"
    shutil.rmtree(tmp_path / "model", ignore_errors=True)


def test_full_medclip_has_the_features_of_the_librarys_swin_and_bert(large_directory: Path) -> None:
    bert = bert_models.bert_config(vocab_size=28_996)
    model = bert_models.write_medclip(large_directory, bert_models.SWIN_T, bert, embed_dim=512)
    backbone = load_backbone(bert_models.card("medclip", image_size=224), large_directory)
    assert (backbone.embed_dim, backbone.text_width) == (512, 768)
    assert_same_features(backbone, model, 25)


def test_full_biomedclip_has_the_features_of_open_clip(large_directory: Path) -> None:
    bert = bert_models.bert_config(vocab_size=30_522)
    model = bert_models.write_biomedclip(large_directory, bert_models.VIT_B, bert, embed_dim=512, context_length=256)
    backbone = load_backbone(bert_models.card("biomedclip"), large_directory)
    assert (backbone.embed_dim, backbone.text_width, backbone.context_length) == (512, 768, 256)
    assert_same_features(backbone, model, 256)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Backbone, Any]]:
    made = {}
    for format in FORMATS:
        directory = tmp_path_factory.mktemp(format)
        model = bert_models.WRITERS[format](directory)
        made[format] = load_backbone(bert_models.card(format), directory), model
    return made


@pytest.fixture(params=FORMATS)
def backbone(request: pytest.FixtureRequest, models: dict[str, tuple[Backbone, Any]]) -> Backbone:
    return models[request.param][0]


@pytest.mark.parametrize(("format", "length"), [("medclip", 25), ("biomedclip", bert_models.CONTEXT_LENGTH)])
def test_tiny_models_have_the_features_of_the_libraries(
    format: str, length: int, models: dict[str, tuple[Backbone, Any]]
) -> None:
    assert_same_features(*models[format], length)


@torch.no_grad()
def test_medclip_pads_every_prompt_to_25_tokens(models: dict[str, tuple[Backbone, Any]]) -> None:
    backbone, model = models["medclip"]
    ours = template_features(backbone, NAMES, TEMPLATE)
    differences = {
        length: float((ours - F.normalize(model.encode_text(tokens(length)), dim=-1)).abs().max())
        for length in (24, 25, 26)
    }
    assert differences[25] < 1e-6
    assert min(differences[24], differences[26]) > TOLERANCE


@torch.no_grad()
def test_the_length_of_another_class_name_changes_no_feature(backbone: Backbone) -> None:
    alone = template_features(backbone, ["covid", "mucus"], TEMPLATE)
    together = template_features(backbone, ["covid", "normal chest image of a patient"], TEMPLATE)
    torch.testing.assert_close(together[0], alone[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_biomedclip_reads_nothing_behind_the_end_token(models: dict[str, tuple[Backbone, Any]]) -> None:
    backbone, _ = models["biomedclip"]
    prompts, ends = noise(2, 12, 768), torch.tensor([5, 9])
    disturbed = noise(2, 20, 768, seed=1)
    for row, end in enumerate(ends):
        disturbed[row, : end + 1] = prompts[row, : end + 1]
    expected = F.normalize(backbone.encode_prompts(prompts, ends), dim=-1)
    found = F.normalize(backbone.encode_prompts(disturbed, ends), dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_no_token_attends_to_what_stands_behind_the_end_token_in_medclip(
    models: dict[str, tuple[Backbone, Any]],
) -> None:
    """The pooling reads the padding, so only the hidden states before it can be compared."""
    text: Any = models["medclip"][0]._model.text
    prompts = torch.cat([noise(1, 6, 768), noise(1, 19, 768, seed=1)], dim=1)
    disturbed = torch.cat([prompts[:, :6], noise(1, 19, 768)], dim=1)
    seen: list[Tensor] = []
    hook = text.transformer.register_forward_hook(lambda _, __, output: seen.append(output.last_hidden_state))
    for embeddings in (prompts, disturbed):
        text.encode(embeddings, torch.tensor([5]))
    hook.remove()
    torch.testing.assert_close(seen[1][:, :6], seen[0][:, :6], atol=1e-5, rtol=0)
    assert float((seen[1][:, 6:] - seen[0][:, 6:]).abs().max()) > 0.1


@torch.no_grad()
def test_the_embeddings_of_words_as_context_vectors_are_these_words(backbone: Backbone) -> None:
    context = ContextVectors.from_text(backbone, "A X-ray image of", "patient")
    assert context.vectors.shape == (7, 768)
    expected = template_features(backbone, NAMES, TEMPLATE)
    torch.testing.assert_close(text_features(backbone, NAMES, context), expected, atol=1e-6, rtol=0)


def test_special_tokens_have_the_ids_of_the_vocabulary(backbone: Backbone) -> None:
    ids = [bert_models.WORDS.index(token) for token in ("[CLS]", "[SEP]", "[PAD]")]
    assert [backbone.start_token, backbone.end_token, backbone.pad_token] == ids


def test_a_prompt_longer_than_the_context_is_refused(backbone: Backbone) -> None:
    with pytest.raises(Rejected) as caught:
        template_features(backbone, ["a", " ".join(["lung"] * backbone.context_length)], "{}")
    assert caught.value.code == "prompt_too_long"


@pytest.mark.parametrize(
    ("options", "word"), [({}, "a"), ({"do_lower_case": True}, "a"), ({"do_lower_case": False}, "A")]
)
def test_lower_casing_is_what_the_tokenizers_file_says(options: dict[str, bool], word: str, tmp_path: Path) -> None:
    bert_models.write_medclip(tmp_path)
    if options:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    loaded = load_backbone(bert_models.card("medclip"), tmp_path)
    assert loaded.tokenize("A scan") == [bert_models.WORDS.index(word), bert_models.WORDS.index("scan")]


def test_words_are_split_into_the_pieces_of_the_vocabulary(backbone: Backbone) -> None:
    pieces = ["x", "-", "ray", ".", "[UNK]"]
    assert backbone.tokenize("X-ray. unheard") == [bert_models.WORDS.index(piece) for piece in pieces]


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
def test_a_text_cannot_contain_a_special_token(backbone: Backbone, token: str) -> None:
    with pytest.raises(Rejected) as caught:
        backbone.tokenize(f"lung {token} opacity")
    assert caught.value.code == "invalid_request"


def rewrite(directory: Path, format: str, **changes: Tensor | None) -> None:
    path = directory / bert_models.card(format).weights
    tensors = torch.load(path, weights_only=True) | changes
    torch.save({key: value for key, value in tensors.items() if value is not None}, path)


def refusal(format: str, directory: Path, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        load_backbone(bert_models.card(format), directory, **options)
    return caught.value


def test_medclips_logit_scale_is_clamped_as_its_authors_clamp_it(tmp_path: Path) -> None:
    bert_models.write_medclip(tmp_path)
    rewrite(tmp_path, "medclip", logit_scale=torch.tensor(5.0))
    assert load_backbone(bert_models.card("medclip"), tmp_path).logit_scale == pytest.approx(100.0, abs=0.01)


def test_logit_scale_is_read_from_the_weights(backbone: Backbone) -> None:
    assert backbone.logit_scale == pytest.approx(20.085536923)


KEYS = [
    ("medclip", "vision_model.model.encoder.layers.0.blocks.1.attention.self.query.weight"),
    ("medclip", "vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table"),
    ("medclip", "vision_model.model.encoder.layers.0.downsample.reduction.weight"),
    ("medclip", "text_model.model.embeddings.word_embeddings.weight"),
    ("medclip", "text_model.projection_head.weight"),
    ("medclip", "logit_scale"),
    ("biomedclip", "visual.head.proj.weight"),
    ("biomedclip", "text.transformer.encoder.layer.1.output.dense.bias"),
    ("biomedclip", "text.proj.2.weight"),
    ("biomedclip", "logit_scale"),
]


@pytest.mark.parametrize(("format", "key"), KEYS)
def test_a_missing_key_is_refused(format: str, key: str, tmp_path: Path) -> None:
    bert_models.WRITERS[format](tmp_path)
    rewrite(tmp_path, format, **{key: None})
    assert refusal(format, tmp_path).code == "invalid_weights"


@pytest.mark.parametrize("format", FORMATS)
def test_a_foreign_key_is_refused(format: str, tmp_path: Path) -> None:
    bert_models.WRITERS[format](tmp_path)
    rewrite(tmp_path, format, **{"text_model.model.encoder.layer.0.adapter.weight": torch.zeros(3)})
    error = refusal(format, tmp_path)
    assert error.code == "invalid_weights"
    assert "adapter" in error.detail


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_vocabulary_is_unavailable(format: str, tmp_path: Path) -> None:
    bert_models.WRITERS[format](tmp_path)
    (tmp_path / "vocab.txt").unlink()
    assert refusal(format, tmp_path).code == "backbone_unavailable"


@pytest.mark.parametrize("change", [("scan\n", ""), ("[SEP]", "end")], ids=["one word short", "without [SEP]"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_vocabulary_of_another_model_is_refused(format: str, change: tuple[str, str], tmp_path: Path) -> None:
    bert_models.WRITERS[format](tmp_path)
    path = tmp_path / "vocab.txt"
    path.write_text(path.read_text().replace(*change))
    assert refusal(format, tmp_path).code == "invalid_weights"


@pytest.mark.parametrize("format", FORMATS)
def test_an_activation_these_models_do_not_have_is_refused(format: str, tmp_path: Path) -> None:
    bert_models.WRITERS[format](tmp_path)
    assert refusal(format, tmp_path, activation="quick_gelu").code == "invalid_weights"


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("text_cfg", "hf_pooler_type", "mean_pooler"),
        ("text_cfg", "hf_proj_type", "linear"),
        ("vision_cfg", "timm_model_name", "hf-hub:somebody/vit_tiny"),
        ("vision_cfg", "timm_model_name", "vit_unheard"),
        ("vision_cfg", "timm_drop_path", 0.1),
    ],
)
def test_another_architecture_than_biomedclips_is_refused(part: str, field: str, value: object, tmp_path: Path) -> None:
    bert_models.write_biomedclip(tmp_path)
    path = tmp_path / "open_clip_config.json"
    document = json.loads(path.read_text())
    document["model_cfg"][part][field] = value
    path.write_text(json.dumps(document))
    assert refusal("biomedclip", tmp_path).code == "invalid_weights"


@pytest.mark.parametrize("format", FORMATS)
def test_loading_opens_no_connection(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert_models.WRITERS[format](tmp_path)

    def no_socket(*_args: object, **_options: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    load_backbone(bert_models.card(format), tmp_path)


@torch.no_grad()
def test_only_the_image_tower_runs_in_half_precision(tmp_path: Path) -> None:
    full = bert_models.tiny_backbone("medclip", tmp_path)
    half = load_backbone(bert_models.card("medclip"), tmp_path, dtype=torch.bfloat16)
    pixels = pixels_of(full.image_size)
    similarity = F.cosine_similarity(half.encode_image(pixels).float(), full.encode_image(pixels))
    assert float(similarity.min()) > 0.99
    assert torch.equal(template_features(half, NAMES, TEMPLATE), template_features(full, NAMES, TEMPLATE))


def test_few_shot_training_lowers_the_loss(backbone: Backbone) -> None:
    labels = torch.tensor([0, 1] * 2)
    images = 0.2 * pixels_of(backbone.image_size, 4) + 0.6 * labels.view(-1, 1, 1, 1)
    params = FewShotParams(epochs=2, warmup_epochs=0, lr=0.01, batch_size=4, n_ctx=3, sigmas=())
    start = random_context(backbone, 2, params)
    states = list(train_epochs(backbone, image_features(backbone, images, params), labels, NAMES, params))
    assert states[1].loss < states[0].loss
    assert states[1].vectors.shape == (3, 768)
    assert not torch.equal(states[1].vectors, start.vectors)


def test_zero_shot_adaptation_lowers_the_entropy_of_the_template(backbone: Backbone) -> None:
    with torch.no_grad():
        features = backbone.encode_image(pixels_of(backbone.image_size, 4))
    start = context_of_template(backbone, TEMPLATE, "tokens")
    adapted = adapt(backbone, features, NAMES, start, ZeroShotAdaptation(samples=4, steps=2, lr=1e-3))

    @torch.no_grad()
    def entropy(context: ContextVectors) -> float:
        texts = text_features(backbone, NAMES, context)
        return float(entropy_of_mean(backbone.logit_scale * F.normalize(features, dim=-1) @ texts.T))

    assert entropy(adapted) < entropy(start)


def test_a_legacy_checkpoint_of_width_768_is_imported(backbone: Backbone, tmp_path: Path) -> None:
    vectors = torch.randn(5, 768, generator=torch.Generator().manual_seed(0))
    start = backbone.embed_tokens([backbone.start_token]).expand(2, 1, -1)
    suffix = torch.zeros(2, backbone.context_length - 6, 768)
    state = {"ctx": vectors, "token_prefix": start.clone(), "token_suffix": suffix}
    torch.save({"state_dict": state | {"medclip_model.logit_scale": torch.tensor(1.0)}}, tmp_path / "model.pth.tar-50")
    context = import_context(tmp_path / "model.pth.tar-50", backbone, 2, position="end")
    assert torch.equal(context.vectors, vectors)
    assert layout(backbone, NAMES, context).places.tolist() == [[1, 2, 3, 4, 5]] * 2


def test_a_legacy_checkpoint_of_other_weights_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    state = {"ctx": torch.zeros(5, 768), "token_prefix": torch.ones(2, 1, 768)}
    torch.save({"state_dict": state}, tmp_path / "model.pth.tar-50")
    with pytest.raises(Rejected) as caught:
        import_context(tmp_path / "model.pth.tar-50", backbone, 2, position="end")
    assert caught.value.code == "prompt_mismatch"


def test_fetching_medclip_pins_the_files_that_were_unpacked(tmp_path: Path) -> None:
    card = bert_models.card("medclip")
    bert_models.write_medclip(tmp_path / card.id)
    pinned = fetch(card, tmp_path)
    assert pinned.sha256 == load_backbone(card, tmp_path / card.id).sha256
    assert fetch(card, tmp_path) == pinned
    rewrite(tmp_path / card.id, "medclip", logit_scale=torch.tensor(1.0))
    with pytest.raises(Rejected) as caught:
        fetch(card, tmp_path)
    assert caught.value.code == "digest_mismatch"


def test_fetching_medclip_before_it_was_unpacked_says_what_to_do(tmp_path: Path) -> None:
    card = bert_models.card("medclip", hub="https://example.org/medclip.zip")
    with pytest.raises(Rejected) as caught:
        fetch(card, tmp_path)
    assert caught.value.code == "backbone_unavailable"
    assert "https://example.org/medclip.zip" in caught.value.detail
    assert str(tmp_path / card.id) in caught.value.detail
