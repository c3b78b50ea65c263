"""Each field of POST /prompts is read or refused by its name, and reaches the request that they make."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from redis import Redis

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.submission import SubmissionForm
from certrad.app.api.schemas.tune import TuningForm, parse
from certrad.app.api.tuning_defaults import resolve
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_adapters, shipped_backbones, shipped_tasks
from certrad.models.types import AdapterCard, BackboneCard, TaskCard
from certrad.models.types.tuning import TuningMethod, TuningParams, TuningRequest
from certrad.models.types.window import FileWindow
from certrad.workers.contract.adapter_cards import AdapterCards
from certrad.workers.contract.catalogue import Catalogue

METHODS: tuple[TuningMethod, ...] = ("few_shot", "coop", "advpt")
EXTREMES = {
    "shots": ("1", "10000"),
    "epochs": ("1", "1000"),
    "lr": ("1e-9", "1"),
    "batch_size": ("1", "1024"),
    "n_ctx": ("1", "64"),
    "sigmas": ("[0.02]", "[2, 0.25]"),
    "seed": ("0", str(2**32 - 1)),
}
BEYOND = {
    "name": ("", "Upper", "a b", "../x", "-a", "a" * 65),
    "method": ("zero_shot",),
    "classes": ("a, b", "{}", '["a"]', '["a", "a"]', '["a", " "]', '["a", "A"]', "[1, 2]"),
    "shots": ("0", "10001", "1.5", "all"),
    "epochs": ("0", "1001"),
    "lr": ("0", "-1", "1.1", "nan", "inf"),
    "batch_size": ("0", "1025"),
    "n_ctx": ("0", "65"),
    "class_specific": ("perhaps",),
    "position": ("everywhere",),
    "sigmas": ("[]", "[0.01]", "[2.1]", "0.25", '["a"]', "[NaN]"),
    "seed": ("-1", str(2**32)),
    "acquisition": ("", "all", "true"),
}


class ShippedAdapters(AdapterCards):
    """The shipped adapters; nothing of this asks Redis."""

    def __getitem__(self, adapter_id: str) -> AdapterCard:
        return shipped_adapters()[adapter_id]

    def is_withdrawn(self, adapter_id: str | None) -> bool:
        return False


class ShippedCatalogue(Catalogue):
    """The shipped cards; nothing of this asks Redis."""

    def backbones(self) -> dict[str, BackboneCard]:
        return shipped_backbones()

    def tasks(self) -> dict[str, TaskCard]:
        return shipped_tasks()

    @property
    def adapters(self) -> AdapterCards:
        return ShippedAdapters(self._redis)


def request(*given: tuple[str, str]) -> TuningRequest:
    return resolve(parse(given), ShippedCatalogue(Redis()), ApiSettings(data_dir=Path("unused")))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_given_is_what_the_papers_publish(method: TuningMethod) -> None:
    assert request(("method", method)).params == TuningParams.published(method)


def test_without_a_method_it_is_few_shot_with_the_folders_as_classes() -> None:
    assert request() == TuningRequest(
        name="prompt-few-shot",
        backbone="demo",
        class_names=None,
        task=None,
        params=TuningParams.published("few_shot"),
    )


def test_a_task_brings_its_classes_and_its_backbone() -> None:
    task = shipped_tasks()["mednist"]
    found = request(("task", "mednist"), ("method", "coop"))
    assert (found.name, found.class_names) == ("mednist-coop", task.class_names)
    assert (found.task, found.backbone) == ("mednist", task.default_backbone)


def test_every_field_reaches_the_request() -> None:
    params = {
        "method": "few_shot",
        "shots": 4,
        "epochs": 3,
        "lr": 0.01,
        "batch_size": 8,
        "n_ctx": 2,
        "class_specific": True,
        "position": "middle",
        "sigmas": [0.5],
        "seed": 7,
        "acquisition": "radiology",
    }
    others = {"name": "mine", "backbone": "plip", "classes": ["b", "a"], "noise_space": "image"}
    sent = {**params, **others}
    assert sent.keys() | {"task", "adapter"} | SubmissionForm.model_fields.keys() == TuningForm.model_fields.keys()
    found = request(*((name, value if isinstance(value, str) else json.dumps(value)) for name, value in sent.items()))
    assert asdict(found.params) == {**params, "sigmas": (0.5,)}
    assert params.keys() == {field.name for field in fields(TuningParams)}
    assert (found.name, found.backbone, found.class_names, found.task) == ("mine", "plip", ("b", "a"), None)
    assert found.noise_space == "image"


def test_an_adapter_of_the_backbone_reaches_the_request() -> None:
    (adapter,) = shipped_adapters()
    assert request(("adapter", adapter)).adapter == adapter
    assert request(("adapter", "none")).adapter is None


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, ends in EXTREMES.items() for value in ends])
def test_ends_of_a_range_belong_to_it(name: str, value: str) -> None:
    assert request((name, value)).params


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, ends in BEYOND.items() for value in ends])
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request((name, value))
    assert [error["field"] for error in caught.value.errors] == [name]


@pytest.mark.parametrize("method", ["coop", "advpt"])
def test_noise_goes_with_few_shot_only(method: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(("method", method), ("sigmas", "[0.25]"))
    assert [error["field"] for error in caught.value.errors] == ["sigmas"]


@pytest.mark.parametrize("method", ["coop", "advpt"])
def test_changes_of_acquisition_go_with_few_shot_only(method: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(("method", method), ("acquisition", "radiology"))
    assert [error["field"] for error in caught.value.errors] == ["acquisition"]
    assert request(("method", method), ("acquisition", "none")).params.acquisition == "none"


def test_task_and_classes_together_are_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(("task", "mednist"), ("classes", '["a", "b"]'))
    assert [error["field"] for error in caught.value.errors] == ["classes"]


@pytest.mark.parametrize(
    ("name", "code"), [("task", "unknown_task"), ("backbone", "unknown_backbone"), ("template", "unknown_field")]
)
def test_what_is_not_there_is_refused(name: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        request((name, "nowhere"))
    assert caught.value.code == code


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        request(("seed", "1"), ("seed", "1"))


def test_images_of_a_task_are_shown_with_its_presets() -> None:
    assert request().window == FileWindow()
    window = request(("task", "mednist")).window
    assert window == FileWindow.of_task(shipped_tasks()["mednist"].windows)
    assert window.presets
