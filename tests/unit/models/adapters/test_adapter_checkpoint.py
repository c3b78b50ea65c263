"""Adapter checkpoints: named by content, checked by digest, written whole, and refused when anything is wrong."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from certrad.models.adapters.adapter import LowRank, adapted
from certrad.models.adapters.checkpoint import (
    HEADER,
    adapter_path,
    adapter_to_bytes,
    load_adapter,
    read_adapter_card,
    save_adapter,
)
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import EMBEDDED, Backbone, load_backbone
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_adapters, shipped_backbones
from certrad.models.types import AdapterCard
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from tests.support import tiny_clip
from tests.support.adapters import random_changes


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def card(backbone: Backbone, tmp_path: Path) -> AdapterCard:
    return saved(backbone, tmp_path)


def saved(backbone: Backbone, directory: Path, seed: int = 0, **changes: Any) -> AdapterCard:
    fields: dict[str, Any] = {"name": "site", "backbone": backbone, "sigma_range": (0.1, 1.1)}
    return save_adapter(directory, *random_changes(backbone, seed), **(fields | changes))


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(Rejected) as caught:
        call(*arguments)
    return caught.value.code


def rewritten(directory: Path, card: AdapterCard, content: bytes) -> AdapterCard:
    """Writes another content for an adapter and returns a card that names it."""
    sha256 = hashlib.sha256(content).hexdigest()
    other = replace(card, id=f"site-{sha256[:16]}", sha256=sha256)
    adapter_path(directory, other.id).write_bytes(content)
    return other


def with_tensors(directory: Path, card: AdapterCard, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Returns the code of loading the adapter with some tensors changed, or left out where None is given."""
    content = adapter_path(directory, card.id).read_bytes()
    tensors = {name: value for name, value in (load(content) | changes).items() if value is not None}
    metadata = {HEADER: json.dumps(header or {"backbone_sha256": card.backbone_sha256})}
    return refusal(load_adapter, directory, rewritten(directory, card, save(tensors, metadata=metadata)))


def test_a_saved_adapter_is_loaded_bit_for_bit(backbone: Backbone, card: AdapterCard, tmp_path: Path) -> None:
    low_rank, replaced = random_changes(backbone)
    adapter = load_adapter(tmp_path, card)
    assert adapter.low_rank.keys() == low_rank.keys()
    assert adapter.replaced.keys() == replaced.keys()
    for name, change in low_rank.items():
        assert torch.equal(adapter.low_rank[name].down, change.down)
        assert torch.equal(adapter.low_rank[name].up, change.up)
    assert all(torch.equal(adapter.replaced[name], value) for name, value in replaced.items())


def test_an_adapter_is_named_by_its_content(card: AdapterCard, tmp_path: Path) -> None:
    content = (tmp_path / f"{card.id}.safetensors").read_bytes()
    assert card.sha256 == hashlib.sha256(content).hexdigest()
    assert card.id == f"site-{card.sha256[:16]}"
    assert read_adapter_card(tmp_path / f"{card.id}.json") == card


def test_equal_changes_give_equal_bytes_and_other_weights_others(backbone: Backbone) -> None:
    def content(sha256: str) -> bytes:
        return adapter_to_bytes(*random_changes(backbone), backbone_sha256=sha256)

    assert len({content("0" * 64) for _ in range(10)}) == 1
    assert content("0" * 64) != content("1" * 64)


def test_one_changed_byte_anywhere_is_refused(card: AdapterCard, tmp_path: Path) -> None:
    path = adapter_path(tmp_path, card.id)
    content = path.read_bytes()
    for place in (0, 9, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        assert refusal(load_adapter, tmp_path, card) == "digest_mismatch"


def test_a_missing_file_is_an_unknown_adapter(card: AdapterCard, tmp_path: Path) -> None:
    adapter_path(tmp_path, card.id).unlink()
    assert refusal(load_adapter, tmp_path, card) == "adapter_not_found"


@pytest.mark.parametrize("adapter_id", ["../site-0123456789abcdef", "site", "site-0123", ".-0123456789abcdef"])
def test_an_id_that_is_no_file_name_of_the_store_is_refused(adapter_id: str, tmp_path: Path) -> None:
    assert refusal(adapter_path, tmp_path, adapter_id) == "adapter_not_found"
    assert refusal(AdapterStore(own=tmp_path).card, adapter_id) == "adapter_not_found"


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", save({"other": torch.zeros(5, 32)})])
def test_a_foreign_file_is_no_adapter(content: bytes, card: AdapterCard, tmp_path: Path) -> None:
    assert refusal(load_adapter, tmp_path, rewritten(tmp_path, card, content)) == "invalid_adapter"


MATRIX = "transformer.resblocks.0.mlp.c_fc.weight"


@pytest.mark.parametrize(
    "changes",
    [
        {f"up:{MATRIX}": None},
        {f"down:{MATRIX}": None},
        {f"down:{MATRIX}": torch.zeros(2, 32)},
        {f"down:{MATRIX}": torch.full((3, 32), float("nan"))},
        {f"down:{MATRIX}": torch.zeros(3, 32, dtype=torch.float64)},
        {"replaced:ln_post.weight": torch.full((32,), float("inf"))},
        {f"replaced:{MATRIX}": torch.zeros(128, 32)},
        {"something:else": torch.zeros(1)},
        {"something": torch.zeros(1)},
    ],
    ids=["no up", "no down", "rank", "nan", "float64", "infinite", "twice", "unknown kind", "unknown entry"],
)
def test_a_malformed_adapter_is_refused(changes: dict[str, Any], card: AdapterCard, tmp_path: Path) -> None:
    assert with_tensors(tmp_path, card, **changes) == "invalid_adapter"


def test_a_card_of_other_weights_than_the_file_is_refused(card: AdapterCard, tmp_path: Path) -> None:
    assert refusal(load_adapter, tmp_path, replace(card, backbone_sha256="0" * 64)) == "invalid_adapter"


def test_a_card_of_another_rank_than_the_file_is_refused(card: AdapterCard, tmp_path: Path) -> None:
    assert refusal(load_adapter, tmp_path, replace(card, rank=4)) == "invalid_adapter"


def test_what_could_not_be_loaded_again_is_not_saved(backbone: Backbone, tmp_path: Path) -> None:
    low_rank, _ = random_changes(backbone)
    with pytest.raises(ValueError, match="rank"):
        save_adapter(tmp_path, {}, {}, name="site", backbone=backbone, sigma_range=(0.1, 1.1))
    first, *_ = low_rank
    mixed = low_rank | {first: LowRank(down=torch.zeros(1, 32), up=torch.zeros(96, 1))}
    with pytest.raises(ValueError, match="rank"):
        save_adapter(tmp_path, mixed, {}, name="site", backbone=backbone, sigma_range=(0.1, 1.1))
    with pytest.raises(ValueError, match="an adapter name must match"):
        saved(backbone, tmp_path, name="../site")
    assert not list(tmp_path.iterdir())


def test_a_broken_card_is_no_card(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    for text in ("", "{", '{"id": "x"}', "[" * 100_000):
        path.write_text(text)
        assert refusal(read_adapter_card, path) == "invalid_adapter"
    assert refusal(read_adapter_card, tmp_path / "nowhere.json") == "invalid_adapter"


def test_saving_again_keeps_the_images_that_the_card_before_records(backbone: Backbone, tmp_path: Path) -> None:
    record = TunedOn(keyed=(EpochDigests.of(b"s" * 32, ["ab" * 32]),), public=("cd" * 32,))
    saved(backbone, tmp_path, trained_on=record)
    again = saved(backbone, tmp_path, measured={"images": 3})
    assert again.trained_on == read_adapter_card(tmp_path / f"{again.id}.json").trained_on == record
    assert again.measured == {"images": 3}
    assert len(list(tmp_path.iterdir())) == 2


def test_the_card_is_written_last(backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    replace_file = os.replace

    def watch(source: str | Path, target: str | Path) -> None:
        written.append(Path(target).suffix)
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", watch)
    saved(backbone, tmp_path)
    assert written == [".safetensors", ".json"]


def test_a_store_finds_ones_own_and_shipped_adapters_and_prefers_the_shipped(
    backbone: Backbone, tmp_path: Path
) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    store = AdapterStore(own=own, shipped=shipped)
    mine = saved(backbone, own)
    assert (store.folder(mine.id), store.card(mine.id)) == (own, mine)
    assert adapted(backbone, store.load(mine)).adapter == mine
    theirs = saved(backbone, shipped, licence="public")
    assert (store.folder(mine.id), store.card(mine.id)) == (shipped, theirs)


def test_a_store_does_not_find_an_adapter_without_bytes_without_card_or_under_another_id(
    backbone: Backbone, card: AdapterCard, tmp_path: Path
) -> None:
    store = AdapterStore(own=tmp_path, shipped=tmp_path / "nothing")
    other = saved(backbone, tmp_path, seed=1)
    path = adapter_path(tmp_path, card.id)
    path.with_suffix(".json").write_bytes(adapter_path(tmp_path, other.id).with_suffix(".json").read_bytes())
    assert refusal(store.card, card.id) == "invalid_adapter"
    path.with_suffix(".json").unlink()
    assert refusal(store.card, card.id) == "adapter_not_found"
    path.unlink()
    assert refusal(store.load, card) == "adapter_not_found"
    assert store.folder(card.id) is None


def test_the_shipped_adapter_fits_the_shipped_backbone_and_records_public_images() -> None:
    (card,) = shipped_adapters().values()
    demo = load_backbone(shipped_backbones()["demo"], EMBEDDED)
    assert adapted(demo, AdapterStore(own=EMBEDDED / "nowhere").load(card)).adapter == card
    assert card.trained_on is not None
    assert card.trained_on.keyed == ()
    images: int = card.training["training_images"]
    assert 0.99 * images < len(card.trained_on.public) <= images  # MedNIST holds a few images twice
    assert card.trained_on.complete
    assert "CC BY-SA 4.0" in card.licence
