"""Backbones equal the libraries' own forward pass, and are strict, pinned and offline."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from certrad.bench.demo.pin_embedded import card_of_files
from certrad.models.backbones.base import EMBEDDED, Backbone, load_backbone, weights_directory
from certrad.models.backbones.weights import file_sha256, write_json
from certrad.models.errors import Rejected
from certrad.models.prompts.context import template_features
from certrad.models.shipped import shipped_backbones
from certrad.models.types import BackboneCard
from tests.support import tiny_clip

NAMES = ["adipose tissue", "colorectal adenocarcinoma epithelium"]
TEMPLATE = "An H&E image patch of {}."
TOLERANCE = 1e-4


def normalised(pixels: Tensor) -> Tensor:
    mean = torch.tensor(tiny_clip.MEAN).view(1, 3, 1, 1)
    return (pixels - mean) / torch.tensor(tiny_clip.STD).view(1, 3, 1, 1)


def noisy_pixels(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.5


def tokens() -> Tensor:
    encoded: Tensor = SimpleTokenizer()([TEMPLATE.format(name) for name in NAMES])
    return encoded


@torch.no_grad()
def library_features(model: nn.Module, side: int) -> tuple[Tensor, Tensor]:
    """Image and text features as the library that wrote the model computes them."""
    library: Any = model
    pixels = normalised(noisy_pixels(side))
    if hasattr(library, "get_image_features"):
        image = library.get_image_features(pixel_values=pixels).pooler_output
        return image, library.get_text_features(input_ids=tokens()).pooler_output
    return library.encode_image(pixels), library.encode_text(tokens())


def assert_same_features(backbone: Backbone, model: nn.Module) -> None:
    image, text = library_features(model, backbone.image_size)
    torch.testing.assert_close(backbone.encode_image(noisy_pixels(backbone.image_size)), image, atol=TOLERANCE, rtol=0)
    ours = template_features(backbone, NAMES, TEMPLATE)
    torch.testing.assert_close(ours, F.normalize(text, dim=-1), atol=TOLERANCE, rtol=0)


def open_clip_config(patch: int, *, large: bool = False, layers: int = 12) -> dict[str, object]:
    vision = {"image_size": 224, "layers": layers, "width": 1024 if large else 768, "patch_size": patch}
    text = {"context_length": 77, "vocab_size": 49408, "width": 768 if large else 512, "layers": layers}
    return {
        "embed_dim": 768 if large else 512,
        "vision_cfg": vision,
        "text_cfg": text | {"heads": 12 if large else 8},
    }


def hf_config(patch: int, *, large: bool = False, layers: int = 12) -> Any:
    config = tiny_clip.tiny_hf_config(num_hidden_layers=layers)
    embed, width, heads = (768, 1024, 16) if large else (512, 768, 12)
    config.projection_dim = embed
    vision: Any = config.vision_config
    text: Any = config.text_config
    vision.update({"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads})
    vision.update({"image_size": 224, "patch_size": patch})
    text.update({"hidden_size": embed, "intermediate_size": 4 * embed, "num_attention_heads": embed // 64})
    return config


@pytest.fixture
def large_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that is emptied at once: pytest keeps the files of its last three runs."""
    yield tmp_path / "model"
    shutil.rmtree(tmp_path / "model", ignore_errors=True)


@pytest.mark.parametrize(
    "config",
    [open_clip_config(32), open_clip_config(16, layers=2), open_clip_config(14, large=True, layers=2)],
    ids=["full ViT-B/32", "short ViT-B/16", "short ViT-L/14"],
)
def test_open_clip_model_has_the_features_of_the_library(config: dict[str, object], large_directory: Path) -> None:
    model = tiny_clip.write_open_clip(large_directory, config)
    assert_same_features(load_backbone(tiny_clip.card("open_clip", image_size=224), large_directory), model)


@pytest.mark.parametrize(
    "shape",
    [{"patch": 32}, {"patch": 16, "layers": 2}, {"patch": 14, "large": True, "layers": 2}],
    ids=["full ViT-B/32", "short ViT-B/16", "short ViT-L/14"],
)
def test_hugging_face_model_has_the_features_of_the_library(shape: dict[str, Any], large_directory: Path) -> None:
    model = tiny_clip.write_hf_clip(large_directory, hf_config(**shape))
    assert_same_features(load_backbone(tiny_clip.card("hf_clip", image_size=224), large_directory), model)


@pytest.mark.parametrize("format", ["open_clip", "hf_clip"])
def test_pickled_weights_give_the_features_of_the_library(format: str, tmp_path: Path) -> None:
    model = WRITERS[format](tmp_path, pickled=True)
    assert_same_features(load_backbone(tiny_clip.card(format), tmp_path), model)


WRITERS: dict[str, Any] = {"open_clip": tiny_clip.write_open_clip, "hf_clip": tiny_clip.write_hf_clip}
WEIGHTS = {"open_clip": "open_clip_model.safetensors", "hf_clip": "model.safetensors"}


def rewrite(path: Path, changes: dict[str, Tensor] | None = None, *, drop: str = "") -> None:
    tensors = {key: value for key, value in load_file(path).items() if key != drop}
    save_file(tensors | (changes or {}), path)


def refusal(card: BackboneCard, directory: Path, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        load_backbone(card, directory, **options)
    return caught.value


@pytest.mark.parametrize(
    ("format", "key"),
    [
        ("open_clip", "visual.ln_post.bias"),
        ("open_clip", "logit_scale"),
        ("hf_clip", "vision_model.post_layernorm.bias"),
        ("hf_clip", "text_model.encoder.layers.1.self_attn.k_proj.weight"),
    ],
)
def test_a_missing_key_is_refused_by_name(format: str, key: str, tmp_path: Path) -> None:
    WRITERS[format](tmp_path)
    rewrite(tmp_path / WEIGHTS[format], drop=key)
    error = refusal(tiny_clip.card(format), tmp_path)
    assert error.code == "invalid_weights"
    assert "missing keys" in error.detail


@pytest.mark.parametrize("format", ["open_clip", "hf_clip"])
def test_a_foreign_key_is_refused_by_name(format: str, tmp_path: Path) -> None:
    WRITERS[format](tmp_path)
    rewrite(tmp_path / WEIGHTS[format], {"classification_head.weight": torch.zeros(2)})
    error = refusal(tiny_clip.card(format), tmp_path)
    assert error.code == "invalid_weights"
    assert "foreign keys: classification_head.weight" in error.detail


@pytest.mark.parametrize("format", ["open_clip", "hf_clip"])
def test_a_tensor_of_another_shape_is_refused_by_name(format: str, tmp_path: Path) -> None:
    WRITERS[format](tmp_path)
    key = {"open_clip": "visual.class_embedding", "hf_clip": "vision_model.embeddings.class_embedding"}[format]
    rewrite(tmp_path / WEIGHTS[format], {key: torch.zeros(31)})
    error = refusal(tiny_clip.card(format), tmp_path)
    assert error.code == "invalid_weights"
    assert "visual.class_embedding (31,) instead of (32,)" in error.detail


@pytest.mark.parametrize("format", ["open_clip", "hf_clip"])
def test_missing_weights_are_unavailable(format: str, tmp_path: Path) -> None:
    WRITERS[format](tmp_path)
    (tmp_path / WEIGHTS[format]).unlink()
    assert refusal(tiny_clip.card(format), tmp_path).code == "backbone_unavailable"


@pytest.mark.parametrize("format", ["open_clip", "hf_clip"])
def test_a_missing_configuration_is_unavailable(format: str, tmp_path: Path) -> None:
    WRITERS[format](tmp_path)
    (tmp_path / {"open_clip": "open_clip_config.json", "hf_clip": "config.json"}[format]).unlink()
    assert refusal(tiny_clip.card(format), tmp_path).code == "backbone_unavailable"


def test_a_truncated_weights_file_is_invalid(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    path = tmp_path / WEIGHTS["open_clip"]
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(tiny_clip.card("open_clip"), tmp_path).code == "invalid_weights"


def test_code_in_a_pickled_weights_file_does_not_run(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path, pickled=True)
    torch.save({"logit_scale": Bomb(tmp_path / "ran")}, tmp_path / "open_clip_pytorch_model.bin")
    assert refusal(tiny_clip.card("open_clip"), tmp_path).code == "invalid_weights"
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_weights_of_another_digest_than_the_card_are_refused(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    assert refusal(tiny_clip.card("open_clip", sha256="0" * 64), tmp_path).code == "digest_mismatch"


def test_weights_of_another_digest_than_the_pin_are_refused(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    path = tmp_path / WEIGHTS["open_clip"]
    write_json(tmp_path / "pin.json", {"weights": path.name, "sha256": file_sha256(path)})
    load_backbone(tiny_clip.card("open_clip"), tmp_path)
    rewrite(path, {"logit_scale": torch.tensor(4.0)})
    assert refusal(tiny_clip.card("open_clip"), tmp_path).code == "digest_mismatch"


def test_safetensors_stand_above_pickle(tmp_path: Path) -> None:
    model = tiny_clip.write_open_clip(tmp_path, seed=1)
    tiny_clip.write_open_clip(tmp_path, seed=2, pickled=True)
    card = tiny_clip.card("open_clip", weights="not_here.safetensors")
    assert_same_features(load_backbone(card, tmp_path), model)


def test_loading_opens_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_clip.write_hf_clip(tmp_path)

    def no_socket(*_args: object, **_options: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    load_backbone(tiny_clip.card("hf_clip"), tmp_path)


@pytest.mark.parametrize(("activation", "quick_gelu"), [("config", False), ("gelu", False), ("quick_gelu", True)])
def test_activation_of_an_open_clip_model_follows_the_option(activation: Any, quick_gelu: bool, tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path / "loaded")
    config = dict(tiny_clip.MODEL_CFG) | {"quick_gelu": quick_gelu}
    model = tiny_clip.write_open_clip(tmp_path / "expected", config)
    assert_same_features(load_backbone(tiny_clip.card("open_clip"), tmp_path / "loaded", activation=activation), model)


@pytest.mark.parametrize("hidden_act", ["gelu", "quick_gelu"])
def test_activation_of_a_hugging_face_model_is_that_of_its_configuration(hidden_act: str, tmp_path: Path) -> None:
    model = tiny_clip.write_hf_clip(tmp_path, tiny_clip.tiny_hf_config(hidden_act=hidden_act))
    assert_same_features(load_backbone(tiny_clip.card("hf_clip"), tmp_path), model)


def test_gelu_and_quick_gelu_give_different_features(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    card, pixels = tiny_clip.card("open_clip"), noisy_pixels(tiny_clip.IMAGE_SIZE)
    exact, quick = (
        load_backbone(replace(card, activation=activation), tmp_path).encode_image(pixels)
        for activation in ("gelu", "quick_gelu")
    )
    assert float((exact - quick).abs().max()) > TOLERANCE


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("vision_cfg", "timm_model_name", "vit_base_patch16_224"),
        ("text_cfg", "hf_model_name", "bert"),
        ("text_cfg", "no_causal_mask", True),
        ("vision_cfg", "layers", [3, 4, 6, 3]),
    ],
)
def test_an_architecture_without_causal_text_and_vit_towers_is_refused(
    part: str, field: str, value: object, tmp_path: Path
) -> None:
    tiny_clip.write_open_clip(tmp_path)
    towers: Any = {name: dict(tiny_clip.MODEL_CFG[name]) for name in ("vision_cfg", "text_cfg")}  # type: ignore[call-overload]
    towers[part][field] = value
    write_json(tmp_path / "open_clip_config.json", {"model_cfg": dict(tiny_clip.MODEL_CFG) | towers})
    error = refusal(tiny_clip.card("open_clip"), tmp_path)
    assert error.code == "invalid_weights"
    assert f"{part}.{field}" in error.detail


def test_a_card_with_another_normalisation_than_the_file_is_refused(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    assert refusal(tiny_clip.card("open_clip", mean=(0.5, 0.5, 0.5)), tmp_path).code == "invalid_weights"


def test_a_card_with_another_image_size_than_the_file_is_refused(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    assert refusal(tiny_clip.card("open_clip", image_size=64), tmp_path).code == "invalid_weights"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    directory = tmp_path_factory.mktemp("tiny")
    tiny_clip.write_open_clip(directory)
    return load_backbone(tiny_clip.card("open_clip"), directory)


def test_logit_scale_is_read_from_the_weights_and_exponentiated(backbone: Backbone) -> None:
    assert backbone.logit_scale == pytest.approx(20.085536923)


def test_gradients_reach_the_pixels_and_no_weight(backbone: Backbone) -> None:
    pixels = noisy_pixels(tiny_clip.IMAGE_SIZE).requires_grad_(True)
    torch.autograd.backward(backbone.encode_image(pixels).sum())
    assert pixels.grad is not None
    assert float(pixels.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in backbone._model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 4, 7])
def test_pixels_that_are_normalised_in_parts_have_the_same_bits(
    rows: int, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_clip.write_open_clip(tmp_path)
    of = load_backbone(tiny_clip.card("open_clip"), tmp_path, dtype=dtype)
    monkeypatch.setattr("certrad.models.backbones.base._PART", 3 * 3 * 32 * 32)
    pixels = torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    given = pixels.clone()
    with torch.inference_mode():
        found = of.normalised(pixels)
    assert torch.equal(found, normalised(pixels).to(dtype))
    assert torch.equal(pixels, given)


def test_what_stands_behind_the_end_token_changes_no_text_feature(backbone: Backbone) -> None:
    prompts = torch.randn(2, 20, backbone.text_width, generator=torch.Generator().manual_seed(0))
    eot = torch.tensor([5, 9])
    disturbed = torch.randn(2, 20, backbone.text_width, generator=torch.Generator().manual_seed(1))
    disturbed[0, :6], disturbed[1, :10] = prompts[0, :6], prompts[1, :10]
    assert torch.equal(backbone.encode_prompts(prompts, eot), backbone.encode_prompts(disturbed, eot))


def test_only_the_image_tower_runs_in_half_precision(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    card, pixels = tiny_clip.card("open_clip"), noisy_pixels(tiny_clip.IMAGE_SIZE)
    full, half = (load_backbone(card, tmp_path, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert half.encode_image(pixels).dtype == torch.bfloat16
    similarity = F.cosine_similarity(half.encode_image(pixels).float(), full.encode_image(pixels))
    assert float(similarity.min()) > 0.999
    assert torch.equal(
        template_features(half, NAMES, TEMPLATE),
        template_features(full, NAMES, TEMPLATE),
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("An H&E image patch of", [550, 327, 261, 324, 2867, 8721, 539]),
        ("An H&E noisy image patch of", [550, 327, 261, 324, 33495, 2867, 8721, 539]),
        ("a histopathology slide showing", [320, 677, 6005, 64, 9881, 8837, 3649]),
        ("a photo of a", [320, 1125, 539, 320]),
        ("x", [343]),
    ],
)
def test_token_ids_are_those_of_clip(backbone: Backbone, text: str, ids: list[int]) -> None:
    assert backbone.tokenize(text) == ids


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("adipose tissue", 3),
        ("lymphocytes", 4),
        ("normal colon mucosa", 5),
        ("colorectal adenocarcinoma epithelium", 8),
        ("benign", 2),
        ("malignant", 2),
    ],
)
def test_class_names_have_the_number_of_tokens_of_clip(backbone: Backbone, name: str, length: int) -> None:
    assert len(backbone.tokenize(name)) == length


def test_a_text_cannot_contain_the_end_token(backbone: Backbone) -> None:
    with pytest.raises(Rejected) as caught:
        backbone.tokenize("mucus <end_of_text>")
    assert caught.value.code == "invalid_request"


def test_shipped_cards_pin_no_digest_that_was_not_read_from_a_file() -> None:
    cards = shipped_backbones()
    clips = {"demo", "plip", "quiltnet-b-32", "clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14"}
    assert set(cards) == clips | {"medclip-vit", "biomedclip"}
    assert [card.id for card in cards.values() if card.sha256] == ["demo"]


def test_the_card_of_the_embedded_backbone_is_that_of_its_files() -> None:
    assert shipped_backbones()["demo"] == card_of_files()  # else: python -m certrad.bench.demo.pin_embedded


def test_the_embedded_backbone_loads() -> None:
    backbone = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    assert backbone.encode_image(noisy_pixels(backbone.image_size)).shape == (2, backbone.embed_dim)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    tiny_clip.write_open_clip(tmp_path)
    rewrite(tmp_path / WEIGHTS["open_clip"], {"visual.class_embedding": torch.zeros(32, dtype=torch.int8)})
    error = refusal(tiny_clip.card("open_clip"), tmp_path)
    assert error.code == "invalid_weights"
    assert "not floats: visual.class_embedding" in error.detail


def test_weights_lie_in_the_package_or_under_their_id_when_fetched(tmp_path: Path) -> None:
    cards = shipped_backbones()
    assert weights_directory(cards["plip"], tmp_path) == tmp_path / "plip"
    assert weights_directory(cards["demo"], tmp_path).name == "demo"
