"""Windows are read as a request writes them, and tasks have presets for images with a fixed unit."""

from collections.abc import Callable
from typing import Any

import pytest

from certrad.models.shipped import shipped_tasks
from certrad.models.types import TaskCard
from certrad.models.types.applied_window import HeaderTable, HeaderWindow, PercentileRange, SentWindow, TaskWindow
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    PercentileWindow,
    WindowPreset,
    read_window,
)

BRAIN = WindowPreset(modality="CT", name="brain", centre=40, width=80)
LUNG = WindowPreset(modality="CT", name="lung", centre=-600, width=1500)
CHEST = WindowPreset(modality="DX", name="chest", centre=2000, width=4000)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("file", FileWindow()),
        ("percentile", PercentileWindow()),
        ("40,400", FixedWindow(centre=40, width=400)),
        ("-600,1500", FixedWindow(centre=-600, width=1500)),
        ("0.25,1.5", FixedWindow(centre=0.25, width=1.5)),
        ("-0,2", FixedWindow(centre=0, width=2)),
        ("soft_tissue", "soft_tissue"),
    ],
)
def test_a_window_is_read(text: str, window: object) -> None:
    found = read_window(text)
    assert found == window
    assert "-0.0" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "40",
        "40,",
        "40,400,1",
        "40;400",
        "40, 400",
        "nan,400",
        "40,inf",
        "1e3,400",
        "40,1",
        "40,0",
        "40,-400",
        "A b",
    ],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        read_window(text)


def test_the_first_preset_for_a_modality_takes_the_place_of_a_missing_window() -> None:
    assert set(FileWindow.of_task((BRAIN, CHEST, LUNG)).presets) == {BRAIN, CHEST}
    assert FileWindow.of_task(()) == FileWindow()


def test_a_file_has_one_preset_for_each_modality() -> None:
    with pytest.raises(ValueError, match="one preset at most"):
        FileWindow(presets=(BRAIN, LUNG))


@pytest.mark.parametrize(
    "fields", [{"name": "file"}, {"name": "percentile"}, {"name": "40,80"}, {"modality": "ct"}, {"width": 1}]
)
def test_a_preset_that_could_not_be_named_or_applied_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        WindowPreset(**{"modality": "CT", "name": "brain", "centre": 40, "width": 80, **fields})


def test_a_name_is_that_of_one_preset() -> None:
    with pytest.raises(ValueError, match="brain more than once"):
        TaskCard(
            id="a",
            title="a",
            class_names=("a", "b"),
            template="{}",
            default_backbone="demo",
            windows=(BRAIN, WindowPreset(modality="MR", name="brain", centre=400, width=800)),
        )


def test_only_a_task_whose_images_have_a_fixed_unit_has_presets() -> None:
    with_presets = {task.id: task.windows for task in shipped_tasks().values() if task.windows}
    assert list(with_presets) == ["mednist"]
    assert {preset.modality for preset in with_presets["mednist"]} == {"CT"}


@pytest.mark.parametrize(
    "made",
    [
        lambda: HeaderWindow(number=3, of=2, centre=0.0, width=2.0, function="LINEAR"),
        lambda: HeaderWindow(number=1, of=1, centre=0.0, width=0.0, function="LINEAR"),
        lambda: HeaderTable(number=0, of=1),
        lambda: SentWindow(centre=float("inf"), width=2.0),
        lambda: TaskWindow(modality="CT", name="DOE^JANE", centre=0.0, width=2.0),
        lambda: PercentileRange(low=1.0, high=1.0),
        lambda: PercentileRange(low=0.0, high=1.0, low_percent=2.0),
    ],
)
def test_an_impossible_window_cannot_be_told(made: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must"):
        made()
