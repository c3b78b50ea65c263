"""The cards that an operator adds: they join the shipped ones, and a faulty file is named and never passed over."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certrad.models.installed import CardError, Cards, installed_cards, own_cards
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_adapters, shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.types import BackboneCard, TaskCard
from certrad.models.types.codec import encode_card
from tests.support.own_cards import BACKBONE, TASK, own_backbone, own_task, write_card, write_own_cards

Card = BackboneCard | TaskCard
ADAPTER = next(iter(shipped_adapters().values()))
MEDNIST = shipped_tasks()["mednist"]


def read(data_dir: Path) -> Cards:
    return own_cards(data_dir / "cards", data_dir / "prompts", data_dir / "adapters")


def test_without_a_folder_there_are_the_shipped_cards(tmp_path: Path) -> None:
    installed = installed_cards(tmp_path / "cards", tmp_path / "prompts", tmp_path / "adapters")
    assert installed == Cards(backbones=shipped_backbones(), tasks=shipped_tasks(), prompts=shipped_prompts())


def test_own_cards_join_the_shipped_ones(tmp_path: Path) -> None:
    write_own_cards(tmp_path, weights=False)
    installed = installed_cards(tmp_path / "cards", tmp_path / "prompts", tmp_path / "adapters")
    assert installed.backbones == {**shipped_backbones(), BACKBONE: own_backbone()}
    assert installed.tasks == {**shipped_tasks(), TASK: own_task()}


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    write_own_cards(tmp_path, weights=False)
    (tmp_path / "cards" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "cards" / "tasks" / ".own.json.swp").write_bytes(b"\0")
    assert read(tmp_path).tasks == {TASK: own_task()}


def test_prompts_of_own_tasks_come_from_the_operators_folder_and_the_package(tmp_path: Path) -> None:
    bank, prompt = str(MEDNIST.default_bank), str(MEDNIST.default_prompt)
    shipped = SHIPPED_PROMPTS / f"{prompt}.json"
    own = "mine-0123456789abcdef"
    card = {**json.loads(shipped.read_text()), "id": own}
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / f"{own}.json").write_text(json.dumps(card))
    write_card(tmp_path, own_task(class_names=MEDNIST.class_names, default_backbone="demo", default_prompt=own))
    write_card(
        tmp_path, own_task(id="other", class_names=MEDNIST.class_names, default_backbone="demo", default_bank=bank)
    )
    assert set(read(tmp_path).prompts) == {own, bank}


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (own_backbone(id="demo"), "`id` must be none of"),
        (own_task(id="mednist", default_backbone="demo"), "`id` must be none of"),
        (own_task(id="folders", default_backbone="demo"), "`id` must be none of"),
        (own_backbone(id="Own"), "lowercase letters"),
        (own_backbone(id="-"), "lowercase letters"),
        (own_backbone(weights="../demo/backbone.safetensors"), "must be the name of a file"),
        (own_backbone(default_task="nothing"), "`default_task` must be one of"),
        (own_task(), "`default_backbone` must be one of"),
        (own_task(default_backbone="demo", default_prompt="nothing"), "`default_prompt` must be one of"),
        (own_task(default_backbone="demo", default_bank="nothing"), "`default_bank` must be one of"),
        (own_task(default_backbone="demo", default_prompt=MEDNIST.default_prompt), "must have the classes of the task"),
        (
            own_task(default_backbone="demo", class_names=MEDNIST.class_names, default_prompt=MEDNIST.default_bank),
            "must name a bank",
        ),
        (
            own_task(default_backbone="demo", class_names=MEDNIST.class_names, default_bank=MEDNIST.default_prompt),
            "must name a bank",
        ),
        (own_task(default_backbone="demo", class_names=("head CT", "Head  CT")), "class names must differ"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.id,
)
def test_a_card_that_cannot_be_used_is_refused_by_its_file(tmp_path: Path, card: Card, reason: str) -> None:
    path = write_card(tmp_path, card)
    with pytest.raises(CardError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"the card {path} cannot be used: ")
    assert reason in str(caught.value)


def _without(*names: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        card = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in card.items() if name not in names}))

    return change


def _with(**fields: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_text("{"), "Expecting property name"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "codec can't decode"),
        (lambda path: path.write_text("[" * 100_000), "recursion"),
        (lambda path: path.write_text("[]"), "must be an object"),
        (_without("title"), "missing or unknown fields: title"),
        (_with(colour="red"), "missing or unknown fields: colour"),
        (_with(class_names=["one"]), "2 to 1000 classes"),
        (_with(template="no place"), "must contain exactly one {}"),
        (lambda path: path.rename(path.with_suffix(".txt")), "must be named own-scans.json"),
        (lambda path: path.rename(path.with_name("scans.json")), "must be named own-scans.json"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (lambda path: shutil.move(path.parent, path.parent.with_name("task")), "nothing but the folders"),
        (lambda path: path.rename(path.parent.parent / path.name), "nothing but the folders"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_or_misplaced_file_is_refused(
    tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    write_own_cards(tmp_path, weights=False)
    change(tmp_path / "cards" / "tasks" / f"{TASK}.json")
    with pytest.raises(CardError) as caught:
        read(tmp_path)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("site-0123456789abcdef", None, "`default_adapter` must be one of"),
        ("site-0123456789abcdef", "{", "`default_adapter` names an adapter whose card cannot be read"),
        (ADAPTER.id, None, "`default_adapter` must name an adapter of plip, got demo"),
    ],
)
def test_default_adapter_that_no_job_could_use_is_refused(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    backbone = "plip" if name == ADAPTER.id else "demo"
    write_card(tmp_path, own_task(default_backbone=backbone, default_adapter=name))
    if content is not None:
        (tmp_path / "adapters").mkdir()
        (tmp_path / "adapters" / f"{name}.json").write_text(content)
    with pytest.raises(CardError) as caught:
        read(tmp_path)
    assert reason in str(caught.value)


def test_default_adapter_may_be_shipped_or_ones_own(tmp_path: Path) -> None:
    own = replace(ADAPTER, name="site", id=f"site-{ADAPTER.sha256[:16]}")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / f"{own.id}.json").write_text(encode_card(own))
    for name in (ADAPTER.id, own.id):
        write_card(tmp_path, own_task(default_backbone="demo", default_adapter=name))
        assert [task.default_adapter for task in read(tmp_path).tasks.values()] == [name]


def test_a_prompt_whose_card_is_damaged_is_told_with_the_task(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "mine.json").write_text("{")
    write_card(tmp_path, own_task(default_backbone="demo", default_prompt="mine"))
    with pytest.raises(CardError, match="`default_prompt` names a prompt whose card cannot be read"):
        read(tmp_path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = write_card(tmp_path, own_task(default_backbone="demo"))
    assert encode_card(read(tmp_path).tasks[TASK]) == path.read_text()
