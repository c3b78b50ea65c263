"""Prompt checkpoints are named by content, checked by digest, and written whole or not at all."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from certrad.models.adapters.adapter import adapted
from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.checkpoint import (
    context_from_bytes,
    context_to_bytes,
    load_prompt,
    prompt_path,
    read_prompt_card,
    require_backbone,
    save_prompt,
    write_card,
)
from certrad.models.prompts.context import ContextVectors
from certrad.models.types import PromptCard
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from tests.support import tiny_clip
from tests.support.adapters import random_adapter

CONTEXT = ContextVectors(
    vectors=torch.randn(5, 32, generator=torch.Generator().manual_seed(0)), position="middle", split=2, tail=(8721, 539)
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def card(backbone: Backbone, tmp_path: Path) -> PromptCard:
    return saved(backbone, tmp_path)


def saved(backbone: Backbone, directory: Path, context: ContextVectors = CONTEXT, **changes: Any) -> PromptCard:
    fields: dict[str, Any] = {"name": "kather", "method": "few_shot", "class_names": ("mucus", "debris")}
    fields |= {"tuning": {"shots": 16, "sigmas": [0.25]}, "backbone": backbone}
    return save_prompt(directory, context, **(fields | changes))


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(Rejected) as caught:
        call(*arguments)
    return caught.value.code


@pytest.fixture
def on_adapter(backbone: Backbone) -> Backbone:
    """The same backbone with an adapter."""
    return adapted(backbone, random_adapter(backbone))


def test_checkpoint_names_the_adapter_that_it_was_tuned_on(
    backbone: Backbone, on_adapter: Backbone, tmp_path: Path
) -> None:
    card = saved(on_adapter, tmp_path)
    assert on_adapter.adapter is not None
    assert load_prompt(tmp_path, card).n_ctx == CONTEXT.n_ctx
    assert on_adapter.adapter.id.encode() in prompt_path(tmp_path, card.id).read_bytes()
    assert card.id != saved(backbone, tmp_path).id


@pytest.mark.parametrize(
    "named",
    [
        {"adapter": None, "adapter_sha256": None},
        {"adapter": f"noise-{'a' * 16}", "adapter_sha256": "a" * 64},
    ],
)
def test_card_of_another_adapter_than_the_checkpoint_names_is_refused(
    on_adapter: Backbone, tmp_path: Path, named: dict[str, Any]
) -> None:
    assert refusal(load_prompt, tmp_path, replace(saved(on_adapter, tmp_path), **named)) == "invalid_checkpoint"


def test_checkpoint_of_a_release_that_names_no_adapter_is_read(
    card: PromptCard, on_adapter: Backbone, tmp_path: Path
) -> None:
    assert on_adapter.adapter is not None
    earlier = replace(card, adapter=on_adapter.adapter.id, adapter_sha256=on_adapter.adapter.sha256)
    assert load_prompt(tmp_path, earlier).n_ctx == CONTEXT.n_ctx


def test_a_saved_prompt_is_loaded_bit_for_bit(card: PromptCard, tmp_path: Path) -> None:
    context = load_prompt(tmp_path, card)
    assert torch.equal(context.vectors, CONTEXT.vectors)
    assert (context.position, context.split, context.tail) == ("middle", 2, (8721, 539))


def test_a_saved_card_is_read_back(card: PromptCard, tmp_path: Path) -> None:
    assert read_prompt_card(tmp_path / f"{card.id}.json") == card


def test_a_prompt_is_named_by_its_content(card: PromptCard, tmp_path: Path) -> None:
    content = (tmp_path / f"{card.id}.safetensors").read_bytes()
    assert card.sha256 == hashlib.sha256(content).hexdigest()
    assert card.id == f"kather-{card.sha256[:16]}"


def test_a_prompt_saved_by_two_processes_at_once_is_whole_at_every_moment(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = os.replace

    def another_saves_first(source: str | Path, target: str | Path) -> None:
        monkeypatch.setattr(os, "replace", replace_file)
        saved(backbone, tmp_path)
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", another_saves_first)
    card = saved(backbone, tmp_path)
    assert torch.equal(load_prompt(tmp_path, card).vectors, CONTEXT.vectors)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_equal_contexts_give_equal_bytes() -> None:
    assert len({context_to_bytes(replace(CONTEXT, vectors=CONTEXT.vectors.clone())) for _ in range(20)}) == 1


def test_contexts_that_differ_in_frozen_words_have_different_ids() -> None:
    assert context_to_bytes(CONTEXT) != context_to_bytes(replace(CONTEXT, tail=(8721,)))


def test_saving_again_replaces_only_the_card(backbone: Backbone, card: PromptCard, tmp_path: Path) -> None:
    again = saved(backbone, tmp_path, measured={"clean_accuracy": 0.99})
    assert again.id == card.id
    assert len(list(tmp_path.iterdir())) == 2
    assert read_prompt_card(tmp_path / f"{card.id}.json").measured == {"clean_accuracy": 0.99}


def test_saving_again_keeps_the_images_that_the_card_before_records(backbone: Backbone, tmp_path: Path) -> None:
    record = TunedOn(keyed=(EpochDigests.of(b"s" * 32, ["ab" * 32]),), public=("cd" * 32,))
    saved(backbone, tmp_path, tuned_on=record)
    again = saved(backbone, tmp_path, method="imported")
    assert again.tuned_on == read_prompt_card(tmp_path / f"{again.id}.json").tuned_on == record


def test_saving_again_adds_the_images_of_both_records(backbone: Backbone, tmp_path: Path) -> None:
    saved(backbone, tmp_path, tuned_on=TunedOn(public=("ab" * 32,), complete=False))
    again = saved(backbone, tmp_path, tuned_on=TunedOn(public=("cd" * 32,)))
    assert again.tuned_on == TunedOn(public=("ab" * 32, "cd" * 32), complete=False)


def test_a_damaged_card_is_replaced(backbone: Backbone, card: PromptCard, tmp_path: Path) -> None:
    (tmp_path / f"{card.id}.json").write_text("{")
    assert read_prompt_card(tmp_path / f"{saved(backbone, tmp_path).id}.json") == card


def test_a_changed_file_is_a_digest_mismatch(card: PromptCard, tmp_path: Path) -> None:
    path = tmp_path / f"{card.id}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert refusal(load_prompt, tmp_path, card) == "digest_mismatch"


def test_a_missing_file_is_an_unknown_prompt(card: PromptCard, tmp_path: Path) -> None:
    (tmp_path / f"{card.id}.safetensors").unlink()
    assert refusal(load_prompt, tmp_path, card) == "prompt_not_found"


def test_a_card_of_another_shape_than_the_file_is_refused(card: PromptCard, tmp_path: Path) -> None:
    assert refusal(load_prompt, tmp_path, replace(card, n_ctx=4)) == "invalid_checkpoint"


@pytest.mark.parametrize("prompt_id", ["../kather-0123456789abcdef", "kather", "kather-0123", ".-0123456789abcdef"])
def test_an_id_that_is_no_file_name_of_the_store_is_refused(prompt_id: str, tmp_path: Path) -> None:
    assert refusal(prompt_path, tmp_path, prompt_id) == "prompt_not_found"


@pytest.mark.parametrize("name", ["", "Kather", "../kather", "a/b", "k" * 65])
def test_an_unsafe_name_cannot_be_saved(backbone: Backbone, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a prompt name must match"):
        saved(backbone, tmp_path, name=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [b"", b"no safetensors at all", save({"context": torch.zeros(5, 32)}), save({"other": torch.zeros(5, 32)})],
    ids=["empty", "text", "no header", "other tensor"],
)
def test_a_foreign_file_is_no_checkpoint(content: bytes) -> None:
    assert refusal(context_from_bytes, content) == "invalid_checkpoint"


@pytest.mark.parametrize("shape", [(32,), (0, 32)])
def test_vectors_of_an_impossible_shape_are_no_checkpoint(shape: tuple[int, ...]) -> None:
    content = context_to_bytes(CONTEXT)
    start = content.index(b'"certrad')
    assert start > 0
    header = {"certrad.context.v1": '{"position": "end", "split": null, "tail": []}'}
    assert refusal(context_from_bytes, save({"context": torch.zeros(shape)}, metadata=header)) == "invalid_checkpoint"


def test_a_broken_card_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text('{"id": "x"}')
    assert refusal(read_prompt_card, path) == "invalid_checkpoint"


def test_an_interrupted_write_leaves_the_old_card(
    card: PromptCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        write_card(tmp_path, replace(card, licence="changed"))
    assert read_prompt_card(tmp_path / f"{card.id}.json") == card


def test_a_prompt_of_other_weights_is_a_mismatch(backbone: Backbone, card: PromptCard) -> None:
    require_backbone(card, backbone)
    assert refusal(require_backbone, replace(card, backbone_sha256="0" * 64), backbone) == "prompt_mismatch"
