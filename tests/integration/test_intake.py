"""Intake makes the model input of an upload, and the certificate of a document, with a real Redis."""

import errno
import hashlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import structlog
from PIL import Image
from redis import Redis
from redis.exceptions import ConnectionError

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.certificates.signature import is_signed
from certrad.models.certificates.verify import Issuer, verify
from certrad.models.images.model_input import image_scale, model_input
from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, ClassifierSpec, Region
from certrad.models.types.applied_window import FullRange
from certrad.models.types.image import ImageRecord
from certrad.workers import issue
from certrad.workers.contract.certificate_files import path
from certrad.workers.contract.job import RESULT, JobError, JobRecord
from certrad.workers.contract.job_store import read_memory
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import SIGNING_KEYS, document_key, input_key
from certrad.workers.contract.queues import rq_job
from certrad.workers.contract.records import Records
from certrad.workers.decoders.dicom import decode as decode_dicom
from certrad.workers.intake import decode as decoding
from certrad.workers.intake import tasks as intake
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.queue.shortage import ShortageError
from certrad.workers.settings import WorkerSettings
from tests.support.audit import audited
from tests.support.certificates import answered
from tests.support.images import dicom, encoded, noise, png_bomb, sample, saved, written
from tests.support.processes import environment

pytestmark = pytest.mark.integration

CANARY = "Xylophonsky"
REQUEST = CertifyRequest(
    classifier=ClassifierSpec(
        backbone="demo", prompt="template", class_names=("chest X-ray", "head CT"), template="a photo of a {}"
    )
)
GREY = noise(40, 50)

Finish = Callable[..., tuple[bytes, dict[str, Any]]]


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Records:
    """Job records; the tasks build the same settings from the environment."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return Records(redis, ttl=settings.job_ttl)


@pytest.fixture
def submit(records: Records, settings: WorkerSettings) -> Callable[..., str]:
    """Stores an upload with its record, as the API does."""

    def _submit(data: bytes, *, job_id: str = "job1", **request: Any) -> str:
        records.create(job_id, replace(REQUEST, **request), max_active=10, digest="0" * 64)
        settings.blobs_dir.mkdir(parents=True, exist_ok=True)
        (settings.blobs_dir / job_id).write_bytes(data)
        return job_id

    return _submit


def read(records: Records, job_id: str) -> JobRecord:
    record = records.read(job_id)
    assert record is not None
    return record


def test_an_upload_becomes_the_model_input(
    submit: Callable[..., str], records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    data = sample("RG1_UNCI.dcm")
    job_id = submit(data)
    intake.decode(job_id)
    record = read(records, job_id)
    size = shipped_backbones()["demo"].image_size
    picture = decode_dicom(data, max_pixels=settings.max_pixels)
    expected = model_input(picture, size)
    assert redis.get(input_key(job_id)) == expected.tobytes()
    assert 0 < redis.ttl(input_key(job_id)) <= settings.input_ttl
    assert (record.status, record.phase) == ("running", "waiting")
    assert isinstance(record.image, ImageRecord)
    assert record.image.pixels_sha256 == picture.sha256
    assert record.image.input_sha256 == expected.sha256
    assert record.image.shape == (3, size, size)
    assert record.image.transforms == ("window_linear", "invert")
    assert record.image.scale == image_scale(picture.facts, None, size)
    assert rq_job(redis, "certify", job_id) is not None


@pytest.mark.parametrize(
    ("data", "request_fields", "code"),
    [
        (b"", {}, "empty_image"),
        (b"Dear Sir or Madam,\n" * 20, {}, "unsupported_format"),
        (encoded(GREY, "png")[:-900], {}, "unreadable_image"),
        (png_bomb(12_000), {}, "image_too_large"),
        (
            saved(Image.fromarray(GREY), "png", save_all=True, append_images=[Image.fromarray(GREY.copy() // 2)]),
            {},
            "animated_image",
        ),
        (dicom(GREY, PixelData=None), {}, "dicom_without_pixels"),
        (dicom(np.stack([GREY, GREY])), {}, "frame_required"),
        (dicom(np.stack([GREY, GREY])), {"frame": 3}, "frame_out_of_range"),
        (encoded(GREY, "png"), {"frame": 2}, "frame_out_of_range"),
        (encoded(GREY, "png"), {"region": Region(x=45, y=0, w=8, h=8)}, "region_out_of_range"),
        (dicom(GREY), {"region": Region(x=0, y=0, w=8, h=41)}, "region_out_of_range"),
        (encoded(noise(7, 50), "png"), {}, "image_too_small"),
        (sample("image_dfl.dcm"), {}, "dicom_unsupported"),
        (sample("reportsi.dcm"), {}, "dicom_not_an_image"),
        (encoded(np.stack([GREY] * 4, axis=2), "png"), {}, "unsupported_pixels"),
    ],
)
def test_bad_uploads_fail_with_their_code_and_leave_nothing(
    submit: Callable[..., str],
    records: Records,
    redis: Redis,
    settings: WorkerSettings,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    request_fields: dict[str, Any],
    code: str,
) -> None:
    monkeypatch.setenv("CERTRAD_MAX_PIXELS", "1000000")
    job_id = submit(data, **request_fields)
    intake.decode(job_id)
    record = read(records, job_id)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.code == code
    assert list(settings.blobs_dir.iterdir()) == []
    assert not redis.exists(input_key(job_id))
    assert rq_job(redis, "certify", job_id) is None


def test_decoding_beyond_its_memory_is_refused(
    submit: Callable[..., str], records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTRAD_INTAKE_MEMORY_BYTES", str(256 << 20))
    job_id = submit(encoded(np.zeros((6000, 6000), np.uint8), "png"))
    # A process of its own: the freed memory of the tests before this one would be the child's to use.
    decode = "import sys; from certrad.workers.intake import tasks; tasks.decode(sys.argv[1])"
    subprocess.run([sys.executable, "-c", decode, job_id], check=True)
    assert read(records, job_id).error == JobError(
        code="image_too_large", detail="decoding needs more memory than is allowed"
    )


def test_a_second_decode_does_no_harm(submit: Callable[..., str], records: Records, redis: Redis) -> None:
    job_id = submit(encoded(GREY, "png"))
    intake.decode(job_id)
    before, pixels = read(records, job_id), redis.get(input_key(job_id))
    records.enter(job_id, "estimating")
    intake.decode(job_id)
    after = read(records, job_id)
    assert (after.image, redis.get(input_key(job_id))) == (before.image, pixels)
    assert after.phase == "estimating"


def test_a_cancelled_job_is_not_decoded(
    submit: Callable[..., str], records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    records.cancel(job_id)
    intake.decode(job_id)
    assert read(records, job_id).status == "cancelled"
    assert not redis.exists(input_key(job_id))
    assert list(settings.blobs_dir.iterdir()) == []


def test_a_job_cancelled_while_decoding_leaves_nothing(
    submit: Callable[..., str],
    records: Records,
    redis: Redis,
    settings: WorkerSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(encoded(GREY, "png"))
    decode_labelled = decoding.decode_labelled

    def cancelled_meanwhile(*args: Any) -> Any:
        result = decode_labelled(*args)
        records.cancel(job_id)
        return result

    monkeypatch.setattr(intake, "decode_labelled", cancelled_meanwhile)
    intake.decode(job_id)
    assert not redis.exists(input_key(job_id))
    assert list(settings.blobs_dir.iterdir()) == []
    assert rq_job(redis, "certify", job_id) is None


def test_a_cancelled_job_gets_no_input_even_if_redis_is_lost_right_after(
    submit: Callable[..., str], records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(encoded(GREY, "png"))
    decode_labelled, enter = decoding.decode_labelled, Records.enter

    def cancelled_meanwhile(*args: Any) -> Any:
        result = decode_labelled(*args)
        records.cancel(job_id)
        return result

    def lost(self: Records, job_id: str, phase: Any, **fields: Any) -> bool:
        if phase == "waiting":
            raise ConnectionError
        return enter(self, job_id, phase, **fields)

    monkeypatch.setattr(intake, "decode_labelled", cancelled_meanwhile)
    monkeypatch.setattr(Records, "enter", lost)
    with suppress(ConnectionError):
        intake.decode(job_id)
    assert not redis.exists(input_key(job_id))


def test_a_missing_upload_fails_the_job_with_its_code(
    submit: Callable[..., str], records: Records, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    (settings.blobs_dir / job_id).unlink()
    intake.decode(job_id)
    assert read(records, job_id).error == JobError(
        code="storage_unavailable", detail="the upload cannot be read: No such file or directory"
    )


def test_a_document_that_expired_fails_the_job_with_its_code(submit: Callable[..., str], records: Records) -> None:
    job_id = submit(encoded(GREY, "png"))
    issue.finish(job_id)
    error = read(records, job_id).error
    assert error is not None
    assert error.code == "worker_lost"


def test_a_defect_is_an_internal_error(
    submit: Callable[..., str],
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
    settings: WorkerSettings,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(CANARY)

    monkeypatch.setattr("certrad.workers.decoders.raster.decode", broken)
    job_id = submit(encoded(GREY, "png"))
    with structlog.testing.capture_logs() as logged:
        intake.decode(job_id)
    error = read(records, job_id).error
    assert error is not None
    assert error.code == "internal_error"
    assert [entry["event"] for entry in logged] == ["task failed"]
    assert logged[0]["in_sandbox"].startswith("ZeroDivisionError:test_intake.py:")
    assert CANARY not in str(logged) + str(error)
    assert list(settings.blobs_dir.iterdir()) == []


def test_a_sandbox_that_lies_is_not_believed(
    submit: Callable[..., str], records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = shipped_backbones()["demo"].image_size
    facts = {"format": "png", "rows": 8, "columns": 8, "channels": 1, "bits": 8, "decoder": "x", "lossy": False,
             "unit": "grey level", "slope": 1 / 255}  # fmt: skip
    honest = np.full((3, size, size), 0.5, "<f4").tobytes()
    lies: list[tuple[dict[str, Any], bytes]] = [
        ({"facts": facts, "pixels_sha256": "0" * 64}, honest[:-4]),
        ({"facts": facts, "pixels_sha256": "0" * 64}, np.full((3, size, size), np.nan, "<f4").tobytes()),
        ({"facts": facts, "pixels_sha256": "0" * 64}, np.full((3, size, size), 1.5, "<f4").tobytes()),
        ({"facts": facts, "pixels_sha256": CANARY}, honest),
        ({"facts": {**facts, "decoder": f"{CANARY}^Erika"}, "pixels_sha256": "0" * 64}, honest),
        ({"facts": {**facts, "transforms": [CANARY]}, "pixels_sha256": "0" * 64}, honest),
        ({"facts": {**facts, "patient": CANARY}, "pixels_sha256": "0" * 64}, honest),
        ({"facts": {**facts, "unit": CANARY}, "pixels_sha256": "0" * 64}, honest),
        ({"facts": {**facts, "slope": float("nan")}, "pixels_sha256": "0" * 64}, honest),
        ({"facts": {**facts, "slope": -1.0}, "pixels_sha256": "0" * 64}, honest),
        ({"facts": {**facts, "rows": 10**9, "columns": 10**9}, "pixels_sha256": "0" * 64}, honest),
        ({}, honest),
    ]
    for number, lie in enumerate(lies):
        monkeypatch.setattr(decoding, "decode_bytes", lambda *_, lie=lie, **__: lie)
        job_id = submit(b"x", job_id=f"job{number}")
        intake.decode(job_id)
        record = read(records, job_id)
        assert CANARY not in str(record)
        if "patient" not in lie[0].get("facts", {}):
            assert record.error is not None, number
            assert record.error.code in ("unreadable_image", "image_too_large"), number


def test_header_values_stay_inside(
    submit: Callable[..., str],
    redis: Redis,
    settings: WorkerSettings,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name in every text element, in an accepted file, in broken ones, and in values that pydicom warns of."""
    caplog.set_level(logging.DEBUG)
    names = ("PatientName", "PatientID", "InstitutionName", "StudyDescription", "ReferringPhysicianName")
    elements = dict.fromkeys(names, f"{CANARY}^Erika")
    good = pydicom.dcmread(io.BytesIO(dicom(GREY, **elements)))
    good.private_block(0x0011, CANARY, create=True).add_new(1, "LO", CANARY)
    good.add_new("ImageComments", "LT", CANARY)
    whole = written(good)
    with pytest.warns(UserWarning, match="Invalid value for VR"):
        odd = dicom(GREY, **elements, StudyDate=CANARY, WindowCenter=30, WindowWidth=20)
    uploads = [
        whole,
        odd,
        whole[:-700],
        whole.replace(b"MONOCHROME2", CANARY.encode()),
        whole.replace(b"OT", CANARY[:2].encode()),
        dicom(GREY, **elements, PresentationLUTShape=CANARY.upper()),
        dicom(GREY, **elements, VOILUTFunction=CANARY.upper(), WindowCenter=30, WindowWidth=20),
        dicom(np.stack([GREY, GREY]), **elements),
    ]
    caplog.clear()  # of what pydicom said when the files were built
    for number, data in enumerate(uploads):
        intake.decode(submit(data, job_id=f"job{number}"))
    told = [capfd.readouterr(), caplog.text, _dump(redis)]
    assert CANARY.lower() not in str(told).lower()
    assert CANARY.encode() in (settings.blobs_dir / "job0").read_bytes()


def _dump(redis: Redis) -> str:
    readers: dict[object, Callable[[bytes], object]] = {
        b"hash": redis.hgetall,
        b"string": redis.get,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1),
        b"stream": redis.xrange,
    }
    return str([(key, readers[redis.type(key)](key)) for key in redis.scan_iter()])


@pytest.fixture
def finish(records: Records, redis: Redis) -> Finish:
    """Decodes an upload, leaves document and result as an engine does, lets a change be made to them, and finishes."""

    def _finish(job_id: str, change: Callable[[bytes], bytes] = lambda left: left) -> tuple[bytes, dict[str, Any]]:
        intake.decode(job_id)
        image = read(records, job_id).image
        assert isinstance(image, ImageRecord)
        facts = answered(
            REQUEST,
            (0.9, 0.1),
            pixels_sha256=image.pixels_sha256,
            input_sha256=image.input_sha256,
            scale=image.scale,
            window=image.window or FullRange(),
        )
        left, told = canonical(document(facts)), RESULT.dump_json(certification_result(facts, warnings=[], timing={}))
        redis.hset(document_key(job_id), mapping={"document": change(left), "result": told})
        issue.finish(job_id)
        return left, json.loads(told)

    return _finish


def stored(settings: WorkerSettings, record: JobRecord) -> bytes:
    return (settings.certificates_dir / f"{record.certificate}.json").read_bytes()


def test_finish_stores_the_signed_certificate_and_ends_the_job(
    submit: Callable[..., str], finish: Finish, records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    left, told = finish(job_id)
    record = read(records, job_id)
    assert (record.status, record.result) == ("succeeded", RESULT.validate_python(told))
    content = stored(settings, record)
    document = json.loads(content)
    assert hashlib.sha256(content).hexdigest() == record.certificate
    assert canonical(document) == content
    assert canonical({**document, "signature": None}) == left
    assert is_signed(document)
    assert [key.public_key for key in Keyring(redis).signing_keys()] == [document["signature"]["public_key"]]
    assert list(settings.blobs_dir.iterdir()) == []
    assert not redis.exists(input_key(job_id), document_key(job_id))
    issue.finish(job_id)
    assert read(records, job_id) == record


def test_finish_stores_envelopes_of_the_same_document_signed_with_the_same_key(
    submit: Callable[..., str], finish: Finish, records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    finish(job_id)
    certificate = read(records, job_id).certificate
    assert certificate is not None
    known = Issuer(public_keys=frozenset(key.public_key for key in Keyring(redis).signing_keys()), secrets={})
    for kind in ("dsse", "jws"):
        found = verify(path(settings.certificates_dir, certificate, kind).read_bytes(), known)
        assert (found.valid, found.form, found.certificate) == (True, kind, certificate)


def test_a_certificate_that_is_issued_is_in_the_audit_trail(
    submit: Callable[..., str], finish: Finish, records: Records, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    finish(job_id)
    told = {"name": "certificate_issued", "outcome": "0", "job": job_id}
    assert audited(settings.audit_dir) == [{**told, "certificate-sha256": read(records, job_id).certificate}]


def test_the_key_is_public_before_the_certificate_is_stored(
    submit: Callable[..., str], finish: Finish, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    public: list[list[str]] = []

    def store(_: Path, content: bytes, __: Any) -> str:
        public.append([key.public_key for key in Keyring(redis).signing_keys()])
        assert json.loads(content)["signature"]["public_key"] in public[-1]
        return "0" * 64

    monkeypatch.setattr(issue, "store_certificate", store)
    finish(submit(encoded(GREY, "png")))
    assert len(public) == 1


def test_finish_does_not_sign_what_does_not_verify(
    submit: Callable[..., str], finish: Finish, records: Records, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    finish(job_id, lambda left: left.replace(b'"n":"10000"', b'"n":"9999"'))
    record = read(records, job_id)
    assert (record.status, record.error.code if record.error else None) == ("failed", "invalid_certificate")
    assert (record.certificate, record.result) == (None, None)
    assert not settings.certificates_dir.exists()
    assert list(settings.blobs_dir.iterdir()) == []


def test_certificates_of_before_and_after_a_rotation_are_of_published_keys(
    submit: Callable[..., str], finish: Finish, records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    documents = []
    for job_id in ("job1", "job2"):
        finish(submit(encoded(GREY, "png"), job_id=job_id))
        documents.append(json.loads(stored(settings, read(records, job_id))))
        SigningKeys(settings.signing_dir).rotate()
    redis.delete(SIGNING_KEYS)
    SigningKeys(settings.signing_dir).publish(Keyring(redis))
    published = [key.public_key for key in Keyring(redis).signing_keys()]
    assert all(is_signed(document) for document in documents)
    assert [document["signature"]["public_key"] for document in documents] == published[:2]
    assert len(published) == 3


def test_decoding_leaves_no_signing_key_anywhere(
    submit: Callable[..., str], redis: Redis, settings: WorkerSettings
) -> None:
    intake.decode(submit(encoded(GREY, "png")))
    assert not settings.signing_dir.exists()
    assert Keyring(redis).signing_keys() == []


def test_a_signing_key_that_cannot_be_read_fails_the_job_with_a_code(
    submit: Callable[..., str], finish: Finish, records: Records, settings: WorkerSettings
) -> None:
    (settings.signing_dir / "private.pem").mkdir(parents=True)
    job_id = submit(encoded(GREY, "png"))
    finish(job_id)
    assert read(records, job_id).error == JobError(
        code="storage_unavailable", detail="the certificate was not stored: Is a directory"
    )
    assert not settings.certificates_dir.exists()


def test_finish_of_a_cancelled_job_stores_nothing(
    submit: Callable[..., str], records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(encoded(GREY, "png"))
    intake.decode(job_id)
    records.cancel(job_id)
    redis.hset(document_key(job_id), mapping={"document": b"{}", "result": b"{}"})
    issue.finish(job_id)
    assert read(records, job_id).status == "cancelled"
    assert not settings.certificates_dir.exists()
    assert list(settings.blobs_dir.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_delays_the_certificate_and_fails_no_job(
    submit: Callable[..., str], finish: Finish, records: Records, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: Any) -> str:
        raise OSError(number, "full", "/secret/path")

    job_id = submit(encoded(GREY, "png"))
    with monkeypatch.context() as patch:
        patch.setattr(issue, "store_certificate", full)
        with pytest.raises(ShortageError):
            finish(job_id)
    assert read(records, job_id).status == "running"
    issue.finish(job_id)
    assert read(records, job_id).status == "succeeded"


def test_a_disk_that_cannot_be_written_fails_the_job_with_a_code(
    submit: Callable[..., str], finish: Finish, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any) -> str:
        raise OSError(errno.EROFS, "Read-only file system", "/secret/path")

    monkeypatch.setattr(issue, "store_certificate", read_only)
    job_id = submit(encoded(GREY, "png"))
    finish(job_id)
    assert read(records, job_id).error == JobError(
        code="storage_unavailable", detail="the certificate was not stored: Read-only file system"
    )


def test_an_image_without_room_in_the_job_store_waits_undecoded(
    submit: Callable[..., str], records: Records, redis: Redis, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(redis.config_set, "maxmemory", redis.config_get("maxmemory")["maxmemory"] or "0"))
    job_id = submit(encoded(GREY, "png"))
    redis.setrange("ballast", 16 << 20, b"x")
    redis.config_set("maxmemory", round(read_memory(redis).used / 0.88))  # full for images, not for the rest
    with pytest.raises(ShortageError):
        intake.decode(job_id)
    assert (read(records, job_id).status, redis.exists(input_key(job_id))) == ("queued", 0)
    redis.config_set("maxmemory", 0)
    intake.decode(job_id)
    assert read(records, job_id).phase == "waiting"


def test_redis_down_is_raised_so_that_the_job_is_tried_again(
    submit: Callable[..., str], records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise ConnectionError

    job_id = submit(encoded(GREY, "png"))
    monkeypatch.setattr(intake, "enqueue", down)
    with pytest.raises(ConnectionError):
        intake.decode(job_id)
    assert read(records, job_id).status == "running"
