"""The self-test of intake and archive workers: the decoder in its sandbox, the signing key of intake, and Redis."""

import hashlib
import platform
import secrets
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from typing import Final

import structlog
from redis import Redis
from redis.exceptions import ResponseError
from rq import get_current_job
from rq.command import send_shutdown_command

from certrad.models.certificates.signature import is_signed, public_key, sign
from certrad.models.selftest.facts import PHANTOM, REFERENCES, read_facts, references_sha256
from certrad.models.selftest.outcome import run_check
from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types import TEMPLATE_PROMPT, CertifyRequest, ClassifierSpec
from certrad.models.types.selftest import CheckName, SelfTestCheck, SelfTestReport, SkippedCheck
from certrad.workers.connection import connect
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import INTAKE_QUEUE
from certrad.workers.contract.selftest import FailedSelfTest, SelfTests
from certrad.workers.contract.store_round_trip import round_trip
from certrad.workers.intake.decode import decode_limited
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.settings import WorkerSettings

PROBE_SCHEMA: Final = "certrad.selftest-probe/1"

_OF_ENGINES: Final[tuple[CheckName, ...]] = ("weights", "noise_words", "normals", "features", "counts")
_PHANTOM_PIXELS: Final = 128 * 128
_NO_KEY: Final = "only intake signs"
_PACKAGES: Final = ("certrad", "cryptography", "numpy", "pillow", "pydicom", "redis", "rq")

_log = structlog.get_logger()


def selftest(test_id: str) -> None:
    """Runs intake's part of the self-test that an administrator ordered, and keeps its report.

    A worker that fails ends after it; the one that replaces it tests itself before it takes a job.

    Args:
        test_id: The id of the self-test.
    """
    settings = WorkerSettings()
    with connect(settings) as redis:
        keyring = Keyring(redis)
        key = run_check("signing", lambda: _publish_key(settings, keyring), time.monotonic)
        signed = check_signing(settings, keyring) if key.ok else key
        made = (check_decoder(settings), signed, check_redis(redis))
        report = _report(made)
        SelfTests(redis).put(test_id, "intake", report)
        job = get_current_job()
        if not report.passed and job is not None and job.worker_name is not None:
            send_shutdown_command(redis, job.worker_name)


def passes_at_start(queue_name: str, settings: WorkerSettings, redis: Redis) -> bool:
    """Tests a worker of intake or archive before its first job, and publishes a failure for GET /health/workers.

    No signing key is made by it, and none is published: maintenance does that.

    Args:
        queue_name: The queue of the worker; only intake signs.
        settings: The settings of the worker.
        redis: The job store.

    Returns:
        Whether every check passed; a worker that fails must take no job.
    """
    signed = (
        check_signing(settings, None) if queue_name == INTAKE_QUEUE else SkippedCheck(name="signing", reason=_NO_KEY)
    )
    report = _report((check_decoder(settings), signed, check_redis(redis)))
    tests, host = SelfTests(redis), socket.gethostname()
    if report.passed:
        _log.info("selftest passed", seconds=round(report.seconds, 3))
        tests.forget_failure(host, queue_name)
        return True
    _log.error("worker takes no work", queue=queue_name, checks=report.failed_checks)
    failed = FailedSelfTest(host=host, device=queue_name, failed_at=report.made_at, checks=report.failed_checks)
    with suppress(ResponseError):  # a Redis that refuses this user is such a failure
        tests.publish_failure(failed)
    return False


def _report(made: Iterable[SelfTestCheck | SkippedCheck]) -> SelfTestReport:
    """Returns the report of what was checked here; each check that failed is logged."""
    outcomes = tuple(made)
    of_engines = (SkippedCheck(name=name, reason="an engine makes this check") for name in _OF_ENGINES)
    report = SelfTestReport(
        made_at=time.time(),
        checks=tuple(check for check in outcomes if isinstance(check, SelfTestCheck)),
        skipped=(*of_engines, *(check for check in outcomes if isinstance(check, SkippedCheck))),
        facts=intake_facts(),
    )
    for check in report.checks:
        if not check.ok:
            _log.error("selftest failed", check=check.name, detail=check.detail)
    return report


def check_decoder(settings: WorkerSettings) -> SelfTestCheck:
    """Checks that the decoder makes the stored model input of the shipped DICOM file, in its sandbox.

    Args:
        settings: Limits of the sandbox.
    """

    def decoded() -> str:
        facts, content = read_facts(REFERENCES.read_bytes()), PHANTOM.read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.phantom_sha256:
            raise ValueError("the shipped DICOM file is not the one the references name")
        task = shipped_tasks()[facts.task]
        card = shipped_backbones()[task.default_backbone]
        spec = ClassifierSpec(
            backbone=card.id, prompt=TEMPLATE_PROMPT, class_names=task.class_names, template=task.template
        )
        # The limit of uploads is the operator's choice, and no part of what is tested.
        free = settings.model_copy(update={"max_pixels": max(settings.max_pixels, _PHANTOM_PIXELS)})
        _, record = decode_limited(content, CertifyRequest(classifier=spec), card, free)
        for name in ("pixels_sha256", "input_sha256"):
            if getattr(record, name) != getattr(facts, name):
                raise ValueError(f"{name} is {getattr(record, name)}, not {getattr(facts, name)}")
        return f"model input {record.input_sha256}, from {record.rows} by {record.columns} pixels"

    return run_check("decoder", decoded, time.monotonic)


def _publish_key(settings: WorkerSettings, keyring: Keyring) -> str:
    """Makes the signing key if there is none yet, publishes the public keys, and returns the one in use."""
    keys = SigningKeys(settings.signing_dir)
    name = public_key(keys.current())
    keys.publish(keyring)
    return name


def check_signing(settings: WorkerSettings, keyring: Keyring | None) -> SelfTestCheck | SkippedCheck:
    """Checks that what this installation signs verifies, and that what was changed afterwards does not.

    Args:
        settings: The folder of the keys; nothing is signed where no key was ever used.
        keyring: The published keys, which must hold the one in use; None to leave that out.
    """
    keys = SigningKeys(settings.signing_dir)
    if not keys.public_keys():
        return SkippedCheck(name="signing", reason="no signing key is here: intake makes it for its first certificate")

    def signed() -> str:
        key = keys.current()
        probe = sign({"schema": PROBE_SCHEMA, "value": secrets.token_hex(16)}, key)
        if not is_signed(probe):
            raise ValueError("the signature of a probe does not verify")
        if is_signed({**probe, "value": secrets.token_hex(16)}):
            raise ValueError("the signature of a changed probe verifies")
        name = public_key(key)
        if keyring is not None and name not in {each.public_key for each in keyring.signing_keys()}:
            raise ValueError("the public key in use is not published")
        return f"signed and verified with the public key {name}; a changed probe was refused"

    return run_check("signing", signed, time.monotonic)


def check_redis(redis: Redis) -> SelfTestCheck:
    """Checks that Redis gives back what is written to it."""
    return run_check("redis", lambda: round_trip(redis), time.monotonic)


def intake_facts() -> dict[str, str]:
    """Returns the versions that a report of intake keeps."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in _PACKAGES},
        "references_sha256": references_sha256(),
    }
