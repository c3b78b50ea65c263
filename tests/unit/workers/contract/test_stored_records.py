"""Records that the release before wrote into Redis: they are read, and their JSON is spelled the same today."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certrad.models.shipped import shipped_tasks
from certrad.models.types import AutoSigma, CertifyRequest, FixedSigma, Region, ZeroShotAdaptation
from certrad.models.types.image import IMAGE_WARNINGS, ImageRecord
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.models.types.tuning import TuningRequest, TuningResult
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    PercentileWindow,
    PresetWindow,
    RequestedWindow,
    WindowPreset,
)
from certrad.workers.contract.job import ERROR, INPUT, RESULT, JobRecord
from certrad.workers.contract.progress import to_fields
from certrad.workers.contract.request import read_request, write_request
from certrad.workers.contract.tuning_images import TuningImages

STORED = [
    json.loads(line)
    for line in (Path(__file__).parents[3] / "data" / "records_of_0_1.jsonl").read_text("utf-8").splitlines()
]
NEW_OF_A_CLASSIFIER = (
    *("card_sha256", "text_sha256", "processor", "tuning_images"),
    *("adapter", "adapter_sha256", "adapter_images", "noisy_image", "rejection_sha256"),
)
BY_NAME = {stored["name"]: stored["fields"] for stored in STORED}


def record_of(fields: dict[str, str]) -> JobRecord:
    return JobRecord.from_fields("job", {name.encode(): value.encode() for name, value in fields.items()})


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored["name"])
def test_stored_record_is_read_and_spelled_the_same(stored: dict[str, Any]) -> None:
    fields = stored["fields"]
    record = record_of(fields)
    assert write_request(record.request).decode() == fields["request"]
    assert to_fields(record.progress).items() <= fields.items()
    parts = (record.image, INPUT, "image"), (record.result, RESULT, "result"), (record.error, ERROR, "error")
    for value, codec, name in parts:
        spelled = None if value is None else codec.dump_python(value, mode="json")  # type: ignore[arg-type]
        expected = json.loads(fields.get(name, "null"))
        if isinstance(value, AbstainedResult):  # these fields are newer than the records
            expected |= dict.fromkeys(("label", "class_index", "radius"))
        if isinstance(value, CertifiedResult | AbstainedResult):  # warnings were sentences
            warnings = [{"code": "backbone_note", "message": sentence} for sentence in expected["warnings"]]
            expected |= {"warnings": warnings, "window": None, "adapter": None, "variants": None}
            expected |= {"parameters": None, "prediction_set": None, "rejection_index": None}
            expected |= {"noise_space": "model_input"}
            identities = expected["provenance"]
            identities["classifier"] |= dict.fromkeys(NEW_OF_A_CLASSIFIER)
            identities["noise"] |= {"classifier_sha256": None}
        if isinstance(value, ImageRecord):  # and so are these
            scale = expected["scale"] | {"depends_on_pixels": False}
            expected |= {"warnings": [], "window": None, "scale": scale}
        if isinstance(value, TuningResult):
            expected["card"] |= {"tuned_on": None, "adapter": None, "adapter_sha256": None}
        assert spelled == expected


def test_stored_sigma_has_one_meaning_each() -> None:
    fixed, auto, tune = (record_of(BY_NAME[name]) for name in ("fixed queued", "auto running", "tune running"))
    assert isinstance(fixed.request, CertifyRequest)
    assert fixed.request.sigma == FixedSigma(0.5)
    assert fixed.request.params.target_radius == 0.25
    assert fixed.request.classifier.adaptation == ZeroShotAdaptation(samples=20)
    assert (fixed.request.frame, fixed.request.region) == (2, Region(x=0, y=0, w=32, h=32))
    routing = shipped_tasks()["mednist"].sigma_routing
    assert isinstance(auto.request, CertifyRequest)
    assert routing is not None
    assert auto.request.sigma == AutoSigma(routing)
    assert isinstance(tune.request, TuningRequest)
    assert isinstance(auto.image, ImageRecord)
    assert isinstance(tune.image, TuningImages)


def test_a_sigma_that_is_not_the_selectors_cannot_be_read() -> None:
    spelled = json.loads(BY_NAME["auto running"]["request"])
    spelled["params"]["sigma"] = 0.25
    with pytest.raises(ValueError, match="sigma must be the selector's"):
        read_request(json.dumps(spelled).encode())


def test_a_request_without_kind_is_one_to_certify() -> None:
    spelled = json.loads(BY_NAME["fixed queued"]["request"])
    del spelled["kind"]
    assert read_request(json.dumps(spelled).encode()) == record_of(BY_NAME["fixed queued"]).request


def test_every_field_of_a_request_survives() -> None:
    record = record_of(BY_NAME["fixed queued"])
    assert isinstance(record.request, CertifyRequest)
    other = replace(record.request, sigma=FixedSigma(0.75), task=None, frame=None, region=None, urgent=False)
    assert read_request(write_request(other)) == other


def test_warnings_that_were_sentences_have_codes() -> None:
    stored = next(each["fields"]["result"] for each in STORED if "warnings" in each["fields"].get("result", ""))
    sentences = {"A remark of the card.": "backbone_note", IMAGE_WARNINGS["voi_lut_reduced"]: "voi_lut_reduced"}
    result = RESULT.validate_python({**json.loads(stored), "warnings": list(sentences)})
    assert isinstance(result, CertifiedResult | AbstainedResult)
    assert [(warning.message, warning.code) for warning in result.warnings] == list(sentences.items())
    assert RESULT.validate_json(RESULT.dump_json(result)) == result


PRESET = WindowPreset(modality="CT", name="brain", centre=40.0, width=80.0)


@pytest.mark.parametrize(
    "window",
    [
        FileWindow(presets=(PRESET,)),
        FixedWindow(centre=40.0, width=400.0),
        PresetWindow(preset=PRESET),
        PercentileWindow(),
    ],
)
def test_a_window_survives_and_is_another_request(window: RequestedWindow) -> None:
    record = record_of(BY_NAME["fixed queued"])
    assert isinstance(record.request, CertifyRequest)
    other = replace(record.request, window=window)
    assert read_request(write_request(other)) == other
    assert write_request(other) != write_request(record.request)


def test_the_window_of_a_tuning_survives() -> None:
    record = record_of(BY_NAME["tune running"])
    assert isinstance(record.request, TuningRequest)
    other = replace(record.request, window=FileWindow(presets=(PRESET,)))
    assert read_request(write_request(other)) == other
