"""An adapter is merged exactly, on a copy, and into the tower that it was trained with and no other."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call

from certrad.models.adapters.adapter import Adapter, LowRank, adapted, merged
from certrad.models.backbones.base import Backbone, load_backbone
from certrad.models.errors import Rejected
from certrad.models.types import AdapterCard
from tests.support import tiny_clip
from tests.support.adapters import RANK, random_adapter, random_changes

PIXELS = torch.rand((4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
MATRIX = "transformer.resblocks.0.mlp.c_fc.weight"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    tiny_clip.write_open_clip(directory)
    return directory


@pytest.fixture(scope="module")
def backbone(directory: Path) -> Backbone:
    return load_backbone(tiny_clip.card("open_clip"), directory)


def refusal(backbone: Backbone, adapter: Adapter) -> str:
    with pytest.raises(Rejected) as caught:
        adapted(backbone, adapter)
    assert caught.value.code == "adapter_mismatch"
    return caught.value.detail


def test_a_merged_weight_is_the_exact_sum_in_order_of_rank_rounded_once_to_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, up, down = (torch.randn(shape, generator=generator) for shape in ((5, 7), (5, 3), (3, 7)))
    found = merged(weight, LowRank(down=down, up=up))
    for row in range(5):
        for column in range(7):
            total = float(weight[row, column])
            for rank in range(3):  # Fraction is exact; each sum is rounded to float64 as IEEE 754 says
                product = Fraction(float(up[row, rank])) * Fraction(float(down[rank, column]))
                total = float(Fraction(total) + product)
            assert found[row, column] == torch.tensor(total, dtype=torch.float64).float()


def test_a_merged_tower_has_the_features_of_the_changed_parameters(backbone: Backbone) -> None:
    low_rank, replaced = random_changes(backbone)
    parameters = {name: merged(backbone.image_tower.get_parameter(name), change) for name, change in low_rank.items()}
    wanted = functional_call(backbone.image_tower, parameters | replaced, (backbone.normalised(PIXELS),))
    assert torch.equal(adapted(backbone, random_adapter(backbone)).encode_image(PIXELS), wanted)
    assert not torch.allclose(wanted, backbone.encode_image(PIXELS), atol=1e-3)


def test_merging_twice_gives_the_same_bits(backbone: Backbone) -> None:
    first, second = (adapted(backbone, random_adapter(backbone)).image_tower.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_frozen_backbone_stays_as_it_is_and_shares_its_text_tower(backbone: Backbone) -> None:
    before = backbone.encode_image(PIXELS)
    changed = adapted(backbone, random_adapter(backbone))
    assert torch.equal(backbone.encode_image(PIXELS), before)
    ids = torch.tensor([3])
    embeddings = [each.embed_tokens([each.start_token, 320, each.end_token])[None] for each in (backbone, changed)]
    texts = [
        each.encode_prompts(of_each, ids - 1) for each, of_each in zip((backbone, changed), embeddings, strict=True)
    ]
    assert torch.equal(*texts)
    assert changed._model.text is backbone._model.text


def test_a_backbone_names_its_adapter(backbone: Backbone) -> None:
    adapter = random_adapter(backbone)
    assert backbone.adapter is None
    assert adapted(backbone, adapter).adapter == adapter.card


def test_what_the_adapter_does_not_change_stays_frozen(backbone: Backbone) -> None:
    changed = adapted(backbone, random_adapter(backbone)).image_tower
    for name in ("class_embedding", "positional_embedding", "proj", "transformer.resblocks.0.attn.in_proj_bias"):
        assert torch.equal(changed.get_parameter(name), backbone.image_tower.get_parameter(name))
    assert not any(parameter.requires_grad for parameter in changed.parameters())


def test_an_adapter_without_any_change_changes_no_bit(backbone: Backbone) -> None:
    adapter = random_adapter(backbone)
    zero = {
        name: LowRank(down=change.down, up=torch.zeros_like(change.up)) for name, change in adapter.low_rank.items()
    }
    idle = adapted(backbone, replace(adapter, low_rank=zero, replaced={}))
    assert torch.equal(idle.encode_image(PIXELS), backbone.encode_image(PIXELS))


def test_a_tower_of_bfloat16_is_merged_and_rounded_once_more(directory: Path, backbone: Backbone) -> None:
    half = load_backbone(tiny_clip.card("open_clip"), directory, dtype=torch.bfloat16)
    adapter = random_adapter(backbone)
    found = adapted(half, adapter).image_tower.get_parameter(MATRIX)
    of_half = merged(half.image_tower.get_parameter(MATRIX), adapter.low_rank[MATRIX])
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, of_half.bfloat16())


@pytest.mark.parametrize("changes", [{"backbone": "other"}, {"backbone_sha256": "0" * 64}])
def test_another_backbone_is_refused(backbone: Backbone, changes: dict[str, Any]) -> None:
    adapter = random_adapter(backbone)
    assert "was trained with the backbone" in refusal(backbone, replace(adapter, card=replace(adapter.card, **changes)))


def test_a_second_adapter_is_refused(backbone: Backbone) -> None:
    adapter = random_adapter(backbone)
    assert "already" in refusal(adapted(backbone, adapter), adapter)


def test_a_change_that_the_tower_has_no_place_for_is_refused(backbone: Backbone) -> None:
    adapter = random_adapter(backbone)
    change = adapter.low_rank[MATRIX]
    narrow = LowRank(down=change.down[:, 1:], up=change.up)
    assert "no such parameter" in refusal(backbone, replace(adapter, low_rank={"transformer.none.weight": change}))
    assert "of shape (128, 31)" in refusal(backbone, replace(adapter, low_rank={MATRIX: narrow}))
    assert "of shape (3,)" in refusal(backbone, replace(adapter, replaced={"ln_post.weight": torch.zeros(3)}))


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (torch.zeros(2, 4), torch.zeros(5, 3)),
        (torch.zeros(4), torch.zeros(5, 1)),
        (torch.zeros(0, 4), torch.zeros(5, 0)),
        (torch.zeros(2, 4, dtype=torch.float64), torch.zeros(5, 2)),
        (torch.full((2, 4), float("nan")), torch.zeros(5, 2)),
        (torch.zeros(2, 4), torch.full((5, 2), float("inf"))),
    ],
    ids=["ranks", "vector", "no rank", "float64", "nan", "infinite"],
)
def test_an_impossible_change_cannot_be_built(down: torch.Tensor, up: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must h"):
        LowRank(down=down, up=up)


def test_an_adapter_that_contradicts_itself_cannot_be_built(backbone: Backbone) -> None:
    adapter = random_adapter(backbone)
    with pytest.raises(ValueError, match="must be changed once"):
        replace(adapter, replaced={MATRIX: torch.zeros(2)})
    with pytest.raises(ValueError, match="every change must have the rank"):
        replace(adapter, card=replace(adapter.card, rank=RANK + 1))
    with pytest.raises(ValueError, match="finite"):
        replace(adapter, replaced={"ln_post.weight": torch.full((32,), float("nan"))})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../site"),
        ("id", "site-0123456789abcdef"),
        ("sha256", "0" * 63),
        ("backbone_sha256", "G" * 64),
        ("rank", 0),
        ("sigma_range", (0.0, 1.0)),
        ("sigma_range", (1.0, 0.5)),
        ("sigma_range", (0.1, float("nan"))),
        ("sigma_range", (0.1, float("inf"))),
    ],
)
def test_a_wrong_card_cannot_be_built(backbone: Backbone, field: str, value: Any) -> None:
    card: AdapterCard = random_adapter(backbone).card
    with pytest.raises(ValueError, match="must"):
        replace(card, **{field: value})
