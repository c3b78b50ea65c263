"""A prompt is found in the shipped folder or in one's own, and nowhere else."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certrad.models.errors import Rejected
from certrad.models.prompts.checkpoint import prompt_path, write_card
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.store import PromptStore
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_prompts, shipped_tasks

CARD = shipped_prompts()[shipped_tasks()["mednist"].default_prompt or ""]


def own_copy(folder: Path, **changes: Any) -> None:
    shutil.copy(prompt_path(SHIPPED_PROMPTS, CARD.id), folder)
    write_card(folder, replace(CARD, **changes))


def test_a_shipped_prompt_is_there_without_a_folder_of_ones_own(tmp_path: Path) -> None:
    store = PromptStore(own=tmp_path / "nowhere")
    assert store.folder(CARD.id) == SHIPPED_PROMPTS
    assert store.card(CARD.id) == CARD
    assert isinstance(store.load(CARD), ContextVectors)


def test_ones_own_prompt_is_found(tmp_path: Path) -> None:
    own_copy(tmp_path)
    store = PromptStore(own=tmp_path, shipped=tmp_path / "nothing")
    assert store.folder(CARD.id) == tmp_path
    assert store.card(CARD.id) == CARD
    assert isinstance(store.load(CARD), ContextVectors)


def test_the_shipped_folder_comes_first(tmp_path: Path) -> None:
    own_copy(tmp_path, licence="changed")
    assert PromptStore(own=tmp_path).card(CARD.id) == CARD


def test_a_prompt_without_bytes_or_without_card_is_not_found(tmp_path: Path) -> None:
    store = PromptStore(own=tmp_path, shipped=tmp_path / "nothing")
    write_card(tmp_path, CARD)
    assert store.folder(CARD.id) is None
    for ask in (lambda: store.card(CARD.id), lambda: store.load(CARD)):
        with pytest.raises(Rejected, match="prompt_not_found"):
            ask()
    own_copy(tmp_path)
    prompt_path(tmp_path, CARD.id).with_suffix(".json").unlink()
    with pytest.raises(Rejected, match="prompt_not_found"):
        store.card(CARD.id)


@pytest.mark.parametrize("prompt_id", ["", "template", "../../etc/passwd", f"../{'0' * 3}-{'0' * 16}"])
def test_an_id_that_is_no_safe_file_name_is_not_found(prompt_id: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="prompt_not_found"):
        PromptStore(own=tmp_path).folder(prompt_id)
