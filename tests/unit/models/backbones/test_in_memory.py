"""An open_clip model in memory becomes a backbone: same features, same normalisation, and the model is left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional as F

from certrad import Rejected, SmoothingParams, VisionLanguageClassifier, certify, load_open_clip, template_features
from tests.support import tiny_clip

NAMES = ("chest X-ray", "head CT")
TEMPLATE = "a photo of {}."


@pytest.fixture
def model(tmp_path: Path) -> CLIP:
    return tiny_clip.write_open_clip(tmp_path)


def with_text(**options: Any) -> CLIP:
    return CLIP(**tiny_clip.MODEL_CFG | {"text_cfg": tiny_clip.MODEL_CFG["text_cfg"] | options})  # type: ignore[operator]


def test_features_are_those_of_the_model_in_its_own_normalisation(model: CLIP) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    model.visual.preprocess_cfg = {"mean": mean, "std": std}
    backbone, tokenizer = load_open_clip(model, SimpleTokenizer()), SimpleTokenizer()
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(backbone.encode_image(pixels), model.encode_image(normalised))
    texts = model.encode_text(tokenizer([TEMPLATE.replace("{}", name) for name in NAMES]))
    torch.testing.assert_close(template_features(backbone, NAMES, TEMPLATE), F.normalize(texts, dim=-1))


def test_a_backbone_in_memory_certifies(model: CLIP) -> None:
    backbone = load_open_clip(model, SimpleTokenizer())
    classifier = VisionLanguageClassifier(backbone, template_features(backbone, NAMES, TEMPLATE))
    result = certify(np.full((3, 32, 32), 0.5), classifier, SmoothingParams(n=100))
    assert result.samples_used == 200


def test_the_model_is_copied_and_identified_by_its_tensors(model: CLIP) -> None:
    model.train()
    first = load_open_clip(model, SimpleTokenizer(), dtype=torch.bfloat16)
    assert model.training
    assert all(tensor.requires_grad and tensor.dtype == torch.float32 for tensor in model.parameters())
    assert load_open_clip(model, SimpleTokenizer()).sha256 == first.sha256
    with torch.no_grad():
        model.visual.proj += 1
    assert load_open_clip(model, SimpleTokenizer()).sha256 != first.sha256


@pytest.mark.parametrize(
    "options", [{"no_causal_mask": True}, {"proj_bias": True}, {"pool_type": "last"}, {"pool_type": "first"}]
)
def test_another_text_tower_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Rejected, match="invalid_weights: the text tower"):
        load_open_clip(with_text(**options), SimpleTokenizer())


def test_another_kind_of_model_or_tokenizer_is_refused(model: CLIP) -> None:
    for pair in ((torch.nn.Linear(2, 2), SimpleTokenizer()), (model, str.split)):
        with pytest.raises(Rejected, match="a CLIP and a SimpleTokenizer of open_clip are expected"):
            load_open_clip(*pair)
