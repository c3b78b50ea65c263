"""Prediction sets: from a folder of labelled images to a calibration, a request, a document and its verification."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis

from certrad.app.api import requested_set
from certrad.models.certificates import set_checks
from certrad.models.certificates.calibration_card import read_calibration, write_calibration
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.verify import Issuer, verify
from certrad.models.prediction_sets.confidence import many_misses
from certrad.models.shipped import shipped_prompts, shipped_tasks
from certrad.models.types.calibration import InstalledCalibration
from certrad.models.types.tuned_on import TunedOn
from certrad.workers.contract.calibrations import Calibrations
from certrad.workers.contract.commands import COMPUTING, run
from certrad.workers.engine import calibration_store
from certrad.workers.intake.decode import decode_limited
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.offline import calibration_sets, set_check
from certrad.workers.offline.set_sampling import SetSampling, load_sampling
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TASK
from tests.support.processes import environment
from tests.support.served_jobs import run_job

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("known_secret")]

IMAGES = 3
DEFAULTS = shipped_tasks()[TASK.id]
COMMON = {"task": TASK.id, "n0": "10", "n": "150", "sigma": "0.1", "prompt": "template", "adapter": "none"}


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(pixels, np.ones((8, 8), np.uint8))).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a few invented images of each class."""
    folder = tmp_path / "images"
    for label, name in enumerate(TASK.class_names):
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES):
            (folder / name / f"{number}.png").write_bytes(png(100 * label + number))
    return folder


@pytest.fixture
def calibrate(
    images: Path, settings: WorkerSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Runs the command on the folder, with the settings of the workers, and returns its exit code."""
    assert redis.ping()
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)

    def command(*words: str) -> int:
        given = ["--images", str(images), "--data-dir", str(settings.data_dir)]
        if "--check" not in words:
            given += ["--name", "ward-3", "--site", "scanner A", "--sigma", "0.1", "--n", "20"]
            given += ["--prompt", "template", "--adapter", "none"]
        return run("calibrate-sets", COMPUTING["calibrate-sets"], [*given, *words])

    return command


@pytest.fixture
def calibration(calibrate: Callable[..., int], redis: Redis) -> InstalledCalibration:
    """A calibration of all classes together, which 18 images are enough for at beta = 0.1."""
    assert calibrate("--pooled", "--beta", "0.1") == 0
    (made,) = Calibrations(redis).read_all()
    return made


@pytest.fixture
def api(calibration: InstalledCalibration, working_api: TestClient) -> TestClient:
    """A client of the API, whose tasks run in this process, with a calibration."""
    assert calibration.card.images == IMAGES * len(TASK.class_names)
    return working_api


@pytest.fixture
def certify(api: TestClient, calibration: InstalledCalibration) -> Callable[..., dict[str, Any]]:
    """Submits an image with a prediction set, lets every stage work on it, and returns the job."""

    def certified(image: bytes, **fields: str) -> dict[str, Any]:
        asked = {**COMMON, "prediction_set": calibration.id, "prediction_radius": "0.05", **fields}
        return run_job(api, image, asked)

    return certified


def test_set_goes_from_the_request_to_a_verified_document(
    api: TestClient, certify: Callable[..., dict[str, Any]], calibration: InstalledCalibration
) -> None:
    job = certify(png(7))
    assert job["status"] == "succeeded", job["error"]
    content = api.get(job["links"]["certificate"]).content
    statement = read(parse(content))
    keys = frozenset({json.loads(content)["signature"]["public_key"]})
    secret = bytes(range(32))  # that of `known_secret`
    checks = verify(content, Issuer(public_keys=keys, secrets={hashlib.sha256(secret).hexdigest(): secret})).checks
    assert [check for check in checks if not check.ok] == []
    assert {"noise_key", "prediction_set"} <= {check.name for check in checks}
    claim = statement.prediction_set
    assert claim is not None
    assert (claim.beta, claim.radius, claim.n) == (0.1, 0.05, 20)
    served = canonical(api.get(f"/calibrations/{calibration.id}").json())
    assert set_checks.calibration_file(statement, claim, served, keys).startswith("the quantiles are those")
    assert job["result"]["prediction_set"]["text"] == claim.text
    assert job["result"]["prediction_set"]["classes"] == list(claim.classes)


def test_command_verifies_a_set_against_the_file_of_its_calibration(
    api: TestClient,
    certify: Callable[..., dict[str, Any]],
    calibration: InstalledCalibration,
    settings: WorkerSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificate = tmp_path / "certificate.json"
    certificate.write_bytes(api.get(certify(png(7))["links"]["certificate"]).content)
    card = settings.calibrations_dir / f"{calibration.id}.json"
    assert run("verify", COMPUTING["verify"], [str(certificate), "--calibration", str(card)]) == 0
    assert "ok       calibration" in capsys.readouterr().out
    other = tmp_path / "other.json"
    altered = write_calibration(replace(calibration.card, site="scanner B"), Ed25519PrivateKey.generate())
    other.write_text(altered.document, encoding="utf-8")
    assert run("verify", COMPUTING["verify"], [str(certificate), "--calibration", str(other)]) == 1
    assert "REFUSED  calibration" in capsys.readouterr().out


def test_calibrations_are_listed_without_counts_and_digests(api: TestClient, calibration: InstalledCalibration) -> None:
    (listed,) = api.get("/calibrations").json()["calibrations"]
    assert (listed["id"], listed["site"], listed["images"]) == (calibration.id, "scanner A", [IMAGES] * 6)
    assert not {"counts", "seen", "labels_sha256", "signature"} & listed.keys()
    assert api.get("/calibrations/unknown").json()["code"] == "calibration_not_found"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sigma": "0.25"}, "calibration_mismatch"),
        ({"window": "40,400"}, "calibration_mismatch"),
        ({"region": "0,0,32,32"}, "calibration_mismatch"),
        ({"adapter": DEFAULTS.default_adapter}, "calibration_mismatch"),
        ({"adapter": DEFAULTS.default_adapter, "prompt": DEFAULTS.default_bank}, "calibration_mismatch"),
        ({"prediction_set": "ward-3-0123456789abcdef"}, "calibration_not_found"),
        ({"target_radius": "0.05"}, "invalid_request"),
        ({"sigma": "auto"}, "invalid_request"),
        ({"noise_space": "image"}, "invalid_request"),
        ({"adaptation": "zero_shot"}, "invalid_request"),
        ({"beta": "0.9"}, "invalid_request"),
        ({"prediction_radius": "0.41"}, "invalid_request"),
    ],
)
def test_request_that_a_calibration_does_not_cover_is_refused(
    api: TestClient, calibration: InstalledCalibration, fields: dict[str, str], code: str
) -> None:
    asked = {**COMMON, "prediction_set": calibration.id, "prediction_radius": "0.05", **fields}
    answer = api.post("/certify", files={"image": png(7)}, data=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_radius_is_required_and_goes_with_a_set_only(api: TestClient, calibration: InstalledCalibration) -> None:
    lone = api.post("/certify", files={"image": png(7)}, data={**COMMON, "prediction_radius": "0.05"})
    bare = api.post("/certify", files={"image": png(7)}, data={**COMMON, "prediction_set": calibration.id})
    assert "only with `prediction_set`" in lone.text
    assert "must be sent with `prediction_set`" in bare.text


def test_image_of_the_calibration_gets_no_set(certify: Callable[..., dict[str, Any]]) -> None:
    job = certify(png(100))
    assert (job["status"], job["error"]["code"]) == ("failed", "image_was_calibrated_on")


@pytest.mark.parametrize(
    "change", [{"dtype": "float16"}, {"law": "aes128ctr-boxmuller-f64"}, {"classifier_sha256": "0" * 64}]
)
def test_engine_refuses_a_calibration_of_another_classifier(
    certify: Callable[..., dict[str, Any]], calibration: InstalledCalibration, redis: Redis, change: dict[str, str]
) -> None:
    other = write_calibration(replace(calibration.card, **change), Ed25519PrivateKey.generate())  # type: ignore[arg-type]
    Calibrations(redis).publish(other)
    job = certify(png(7), prediction_set=other.id)
    assert (job["status"], job["error"]["code"]) == ("failed", "calibration_mismatch")


@pytest.mark.parametrize("fields", [{"window": "40,400"}, {"region": "0,0,32,32"}])
def test_engine_refuses_another_rendering_than_that_of_the_calibration(
    certify: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    monkeypatch.setattr(requested_set, "_require_same", lambda *_: None)
    job = certify(png(7), **fields)
    assert (job["status"], job["error"]["code"]) == ("failed", "calibration_mismatch")


def test_interrupted_calibration_draws_no_sample_twice(
    calibrate: Callable[..., int], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    drawn: list[str] = []
    whole = SetSampling.labels
    limit = 5

    def counted(self: SetSampling, pixels: Any, input_sha256: str) -> Any:
        if len(drawn) == limit:
            raise KeyboardInterrupt
        drawn.append(input_sha256)
        return whole(self, pixels, input_sha256)

    monkeypatch.setattr(SetSampling, "labels", counted)
    with pytest.raises(KeyboardInterrupt):
        calibrate("--pooled")
    assert (settings.calibrations_dir / "ward-3.calibrating").exists()
    limit = 1_000
    assert calibrate("--pooled") == 0
    assert len(drawn) == len(set(drawn)) == IMAGES * len(TASK.class_names)
    assert not (settings.calibrations_dir / "ward-3.calibrating").exists()
    (made,) = Calibrations(redis).read_all()
    assert read_calibration((settings.calibrations_dir / f"{made.id}.json").read_bytes()) == made


def test_image_that_is_there_twice_is_refused(
    calibrate: Callable[..., int], images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / TASK.class_names[1] / "again.png").write_bytes(png(0))
    assert calibrate() == 2
    assert "1 files repeat another one's image" in capsys.readouterr().err


def tuned_on(image: bytes) -> Callable[..., SetSampling]:
    """Returns `load_sampling` with a prompt that an image was tuned on."""

    def tuned(*given: Any, **named: Any) -> SetSampling:
        sampling = load_sampling(*given, **named)
        decoded, _ = decode_limited(image, sampling.request, sampling.card, WorkerSettings())
        seen = TunedOn(public=(hashlib.sha256(decoded.pixels.tobytes()).hexdigest(),))
        card = replace(shipped_prompts()[str(DEFAULTS.default_bank)], tuned_on=seen)
        return replace(sampling, model=replace(sampling.model, card=card))

    return tuned


def test_image_that_the_prompt_was_tuned_on_is_refused(
    calibrate: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration_sets, "load_sampling", tuned_on(png(100)))
    assert calibrate() == 1
    assert "image_was_tuned_on" in capsys.readouterr().err


def test_classes_with_too_few_images_are_told(
    calibrate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate() == 0
    told = capsys.readouterr().err
    for name in TASK.class_names:
        assert f"{name}: 3 images, but beta = 0.05 needs 22: it is on every list" in told


def test_check_counts_the_misses_of_new_images_and_refuses_those_of_the_calibration(
    calibrate: Callable[..., int],
    calibration: InstalledCalibration,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert calibrate("--check", calibration.id) == 1
    assert "image_was_calibrated_on" in capsys.readouterr().err
    replace_all(images)
    assert calibrate("--check", calibration.id, "--radius", "0.05") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["beta"]) == (18, 0.1)
    assert found["p_value"] == many_misses(18, found["missed"], calibrated=18, place=1)
    assert {values[2] for values in found["missed_of_class"].values()} == {None}  # pooled: no class has a promise
    assert found["misses_at_most"] > 0.1
    assert calibrate("--check", calibration.id, "--beta", "0.2") == 0
    assert json.loads(capsys.readouterr().out)["beta"] == 0.2


def test_neither_checkpoint_nor_card_tells_a_stranger_which_images_they_are_of(
    calibrate: Callable[..., int], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest without a key is a name: whoever has an image can compute it and look for it."""
    drawn, written, whole = set[str](), list[bytes](), SetSampling.labels
    checkpoint = settings.calibrations_dir / "ward-3.calibrating"

    def labels(self: SetSampling, pixels: Any, input_sha256: str) -> Any:
        drawn.add(input_sha256)
        return whole(self, pixels, input_sha256)

    def hashed(records: Any) -> bytes:
        written.extend([checkpoint.read_bytes(), canonical(records)])
        return written[-1]

    monkeypatch.setattr(SetSampling, "labels", labels)
    monkeypatch.setattr(calibration_sets, "canonical", hashed)
    assert calibrate("--pooled") == 0
    (card,) = settings.calibrations_dir.glob("*.json")
    written.append(card.read_bytes())
    assert len(drawn) == IMAGES * len(TASK.class_names)
    assert len(written) == 3
    assert not [digest for digest in drawn for content in written if digest.encode() in content]


def replace_all(images: Path) -> None:
    for label, name in enumerate(TASK.class_names):
        for number in range(IMAGES):
            (images / name / f"{number}.png").write_bytes(png(9_000 + 100 * label + number))


def test_check_refuses_an_image_that_the_prompt_was_tuned_on(
    calibrate: Callable[..., int],
    calibration: InstalledCalibration,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    replace_all(images)
    monkeypatch.setattr(set_check, "load_sampling", tuned_on(png(9_000)))
    assert calibrate("--check", calibration.id) == 1
    assert "image_was_tuned_on" in capsys.readouterr().err


def test_check_refuses_a_machine_that_cannot_recognise_the_images_of_the_calibration(
    calibrate: Callable[..., int],
    calibration: InstalledCalibration,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(EpochSecrets, "named", lambda *_: None)
    assert calibrate("--check", calibration.id) == 1
    assert "engine_mismatch" in capsys.readouterr().err


def test_check_takes_the_classifier_and_its_noise_from_the_calibration(
    calibrate: Callable[..., int], calibration: InstalledCalibration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate("--check", calibration.id, "--sigma", "0.1", "--pooled") == 2
    told = capsys.readouterr().err
    for option in ("--sigma", "--pooled"):
        assert f"`{option}` does not go with `--check`" in told


def test_bank_with_an_extra_class_is_refused_before_any_sample(
    calibrate: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def drawn(*given: Any) -> Any:
        raise AssertionError("a sample was drawn")

    monkeypatch.setattr(SetSampling, "labels", drawn)
    (bank,) = (name for name, card in shipped_prompts().items() if card.rejection is not None)
    assert calibrate("--prompt", bank, "--adapter", str(DEFAULTS.default_adapter)) == 1
    assert (
        f"prompt_mismatch: prediction sets need a prompt without an extra class, got {bank}" in capsys.readouterr().err
    )


def test_published_calibrations_are_those_of_the_folder_that_the_installation_has_signed(
    calibration: InstalledCalibration, settings: WorkerSettings, redis: Redis
) -> None:
    damaged = settings.calibrations_dir / "ward-3-0123456789abcdef.json"
    damaged.write_text(calibration.document.replace("scanner A", "scanner B"), encoding="utf-8")
    stranger = write_calibration(calibration.card, Ed25519PrivateKey.generate())
    (settings.calibrations_dir / f"{stranger.id}.json").write_text(stranger.document, encoding="utf-8")
    Calibrations(redis).forget(calibration.id)
    calibration_store.publish_all(redis, settings.calibrations_dir)
    assert Calibrations(redis).read_all() == [calibration]
