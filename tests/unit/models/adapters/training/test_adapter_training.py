"""The training of adapters: it needs no label, lowers its loss, and a resumed one ends as an uninterrupted one."""

import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.checkpoint import adapter_of, load_adapter, save_adapter
from certrad.models.adapters.training.agreement import feature_agreement
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.record import (
    TRAINING_CODE,
    training_code_sha256,
    training_identity,
    training_record,
)
from certrad.models.adapters.training.trainer import adaptable_parameters, substituted, train_adapter
from certrad.models.adapters.training.trainer_state import AdapterState
from certrad.models.backbones.base import EMBEDDED, Backbone, load_backbone
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_backbones
from tests.support import bert_models, tiny_clip

SMALL = AdapterParams(steps=6, rank=2, batch_size=4, seed=3)
CPU = torch.device("cpu")
CHOICE = {"task": "mednist", "limit": 8}
IDENTITY = training_identity(SMALL, backbone_sha256="0" * 64, data_sha256="1" * 64, device=CPU, choice=CHOICE)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


def pictures(side: int, number: int = 8, seed: int = 0) -> Tensor:
    """Smooth images, unlike the noise that is added to them."""
    coarse = torch.rand((number, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def last(*arguments: Any, **options: Any) -> AdapterState:
    return list(train_adapter(*arguments, **options))[-1]


def equal(one: AdapterState, other: AdapterState) -> bool:
    groups = [(getattr(one, name), getattr(other, name)) for name in ("values", "averages", "squares")]
    return (one.step, one.loss) == (other.step, other.loss) and all(
        first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        for first, second in groups
    )


def test_the_schedule_is_that_of_torch() -> None:
    for steps in (5, 10, 37, 100):
        params = AdapterParams(steps=steps, lr=2e-3)
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=params.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, params.lr, steps)
        for step in range(steps):
            group = optimizer.param_groups[0]
            assert params.learning_rate(step) == pytest.approx(group["lr"], rel=1e-9)
            assert params.momentum(step) == pytest.approx(group["betas"][0], rel=1e-9)
            optimizer.step()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if step + 1 < steps:
                    schedule.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_training_has_a_learning_rate(steps: int) -> None:
    params = AdapterParams(steps=steps)
    rates = [params.learning_rate(step) for step in range(steps)]
    assert 0 < min(rates) <= max(rates) <= params.lr
    assert max(rates) > params.lr / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"rank": 0},
        {"rank": 257},
        {"batch_size": 0},
        {"sigma_low": 0.0},
        {"sigma_low": 1.2},
        {"sigma_high": float("nan")},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"weight_decay": -1.0},
    ],
)
def test_a_parameter_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        AdapterParams(**changes)


def test_training_brings_noisy_features_of_the_demo_nearer_to_clean_ones() -> None:
    demo = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    params = AdapterParams(steps=16, rank=4, batch_size=8, sigma_low=0.5, sigma_high=0.5, lr=3e-3, seed=0)
    first, *_, end = train_adapter(demo, pictures(64), params, every=4)
    assert end.loss < 0.6 * first.loss
    adapter = adapter_of(end.low_rank(), end.replaced(), name="site", backbone=demo, sigma_range=params.sigma_range)
    figures = feature_agreement(demo, adapted(demo, adapter), pictures(64, seed=1), seed=0, sigmas=(0.0, 0.5))
    clean, noisy = figures["mean_cosine"]
    assert clean["frozen"] == 1.0  # of other images than those it was trained on, as they are
    assert noisy["adapted"] > noisy["frozen"] + 0.1
    assert figures["images"] == 8


def test_a_resumed_training_ends_as_an_uninterrupted_one(backbone: Backbone) -> None:
    states = list(train_adapter(backbone, pictures(32), SMALL, every=2))
    assert [state.step for state in states] == [2, 4, 6]
    for state in states:
        kept = AdapterState.from_bytes(state.to_bytes(IDENTITY), IDENTITY)
        again = list(train_adapter(backbone, pictures(32), SMALL, resume=kept, every=2))
        assert again[0] is kept
        assert equal(again[-1], states[-1])


def test_one_seed_makes_one_adapter_and_another_seed_another(backbone: Backbone) -> None:
    ends = [last(backbone, pictures(32), replace(SMALL, seed=seed)) for seed in (3, 3, 4)]
    assert equal(ends[0], ends[1])
    assert not torch.equal(ends[0].values["replaced:conv1.weight"], ends[2].values["replaced:conv1.weight"])


def test_the_number_of_steps_between_states_does_not_change_the_adapter(backbone: Backbone) -> None:
    often, seldom = (last(backbone, pictures(32), SMALL, every=every) for every in (1, 6))
    assert all(torch.equal(often.values[name], seldom.values[name]) for name in often.values)


def test_training_leaves_the_backbone_as_it_is(backbone: Backbone) -> None:
    before = {name: value.clone() for name, value in backbone.image_tower.state_dict().items()}
    last(backbone, pictures(32), SMALL)
    assert all(torch.equal(before[name], value) for name, value in backbone.image_tower.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.image_tower.parameters())


def test_a_state_that_was_received_does_not_change(backbone: Backbone) -> None:
    states = train_adapter(backbone, pictures(32), SMALL, every=2)
    first = next(states)
    kept = first.to_bytes(IDENTITY)
    assert list(states)
    assert first.to_bytes(IDENTITY) == kept


def test_a_state_of_another_training_is_refused(backbone: Backbone) -> None:
    content = last(backbone, pictures(32), SMALL).to_bytes(IDENTITY)
    with pytest.raises(Rejected) as refused:
        AdapterState.from_bytes(content, IDENTITY | {"data_sha256": "2" * 64, "rank": 8})
    told = f"with another data_sha256 ({'1' * 16}, now {'2' * 16}) and rank (2, now 8): continue it with the values"
    assert told in str(refused.value)
    for broken in (b"", content[:100], content[:-1]):
        with pytest.raises(Rejected, match="invalid_adapter"):
            AdapterState.from_bytes(broken, IDENTITY)


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_a_state_is_continued_only_where_all_that_decides_the_bits_is_the_same(name: str, backbone: Backbone) -> None:
    content = last(backbone, pictures(32), SMALL).to_bytes(IDENTITY)
    for other in (IDENTITY | {name: "another"}, {key: value for key, value in IDENTITY.items() if key != name}):
        with pytest.raises(Rejected, match=f"with another {name} "):
            AdapterState.from_bytes(content, other)


def test_the_identity_and_the_card_name_all_that_decides_the_bits() -> None:
    machine = {"torch", "device", "processor", "threads", "code_sha256"}
    assert IDENTITY.keys() == {*asdict(SMALL), *CHOICE, *machine, "backbone_sha256", "data_sha256"}
    assert (IDENTITY["torch"], IDENTITY["threads"]) == (torch.__version__, torch.get_num_threads())
    record = training_record(IDENTITY, images=7, loss=0.12345678)
    assert record.keys() == (IDENTITY.keys() - {"backbone_sha256"}) | {"images", "training_images", "loss"}
    assert (record["training_images"], record["loss"]) == (7, 0.123457)


def test_the_digest_of_the_code_changes_with_each_source_that_trains(tmp_path: Path) -> None:
    for entry in TRAINING_CODE:
        path = tmp_path / entry if entry.endswith(".py") else tmp_path / entry / "own.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# one\n")
    digests = {training_code_sha256(tmp_path)}
    for path in sorted(tmp_path.rglob("*.py")):
        path.write_text("# two\n")
        digests.add(training_code_sha256(tmp_path))
    assert len(digests) == 1 + len(TRAINING_CODE)
    assert training_code_sha256() not in digests


@pytest.mark.parametrize("group", ["values", "averages", "squares", "loss"])
def test_a_state_with_a_number_that_is_not_finite_is_refused(group: str, backbone: Backbone) -> None:
    state = last(backbone, pictures(32), SMALL)
    broken = dict(getattr(state, group)) if group != "loss" else {}
    if broken:
        name = sorted(broken)[0]
        broken[name] = broken[name].clone()
        broken[name].view(-1)[-1] = torch.inf
    changed: dict[str, Any] = {group: broken or torch.nan}
    content = replace(state, **changed).to_bytes(IDENTITY)
    with pytest.raises(Rejected, match="the training diverged: after step 6"):
        AdapterState.from_bytes(content, IDENTITY)


def test_a_training_that_diverges_yields_no_state_of_it(backbone: Backbone) -> None:
    images = pictures(32)
    images[:, :, 0, 0] = torch.inf
    received: list[AdapterState] = []
    with pytest.raises(Rejected, match="invalid_adapter: the training diverged"):
        received.extend(train_adapter(backbone, images, SMALL, every=1))
    assert received == []


def test_what_cannot_be_trained_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    for images in (pictures(16), pictures(32)[:0]):
        with pytest.raises(ValueError, match="images must have the shape"):
            last(backbone, images, SMALL)
    tiny_clip.write_open_clip(tmp_path)
    half = load_backbone(tiny_clip.card("open_clip"), tmp_path, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="frozen one in float32"):
        last(half, pictures(32), SMALL)


EXPECTED = {
    "open_clip": ("transformer.resblocks.0.attn.in_proj_weight", "conv1.weight"),
    "hf_clip": ("transformer.resblocks.0.attn.in_proj_weight", "conv1.weight"),
    "medclip": ("model.encoder.layers.0.blocks.0.attention.q_proj.weight", "model.embeddings.norm.weight"),
    "biomedclip": ("trunk.blocks.0.attn.qkv.weight", "trunk.patch_embed.proj.weight"),
}
"""Format of the weights -> a matrix that must be changed by low rank, and a parameter that must be replaced."""


def backbone_of(format: str, directory: Path) -> Backbone:
    if format in bert_models.WRITERS:
        return bert_models.tiny_backbone(format, directory)
    if format == "hf_clip":
        tiny_clip.write_hf_clip(directory)
        return load_backbone(tiny_clip.card(format), directory)
    return tiny_clip.tiny_backbone(directory)


@pytest.mark.parametrize("format", EXPECTED)
def test_every_architecture_is_trained_saved_loaded_and_merged(format: str, tmp_path: Path) -> None:
    backbone = backbone_of(format, tmp_path / "model")
    images = pictures(backbone.image_size, number=2)
    tower, params = backbone.image_tower, AdapterParams(steps=2, rank=2, batch_size=2, lr=0.01)
    low_rank, replaced = adaptable_parameters(tower)
    assert EXPECTED[format][0] in low_rank
    assert EXPECTED[format][1] in replaced
    state = last(backbone, images, params)
    with torch.no_grad():
        wanted = functional_call(tower, substituted(tower, state.values), (backbone.normalised(images),))
    card = save_adapter(
        tmp_path,
        state.low_rank(),
        state.replaced(),
        name="site",
        backbone=backbone,
        sigma_range=params.sigma_range,
    )
    found = adapted(backbone, load_adapter(tmp_path, card)).encode_image(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, backbone.encode_image(images), rtol=1e-3, atol=1e-4)
    assert all(bool(change.up.any()) for change in state.low_rank().values())
