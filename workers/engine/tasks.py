"""The engine's tasks, certify, assist and tune; any engine can resume what another one began."""

import time
from collections.abc import Callable
from typing import cast

import structlog
import torch
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.timeouts import JobTimeoutException

from certrad.models.errors import Rejected
from certrad.workers.connection import connect
from certrad.workers.contract.engine_memory import publish_memory
from certrad.workers.contract.exit_codes import SELFTEST_FAILED
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.progress import SamplesDone
from certrad.workers.contract.queues import enqueue
from certrad.workers.contract.records import Records
from certrad.workers.contract.selftest import SelfTestFailedError, SelfTests
from certrad.workers.contract.speeds import note_certification
from certrad.workers.contract.waiting import refuses_writes
from certrad.workers.engine import adapter_store, calibration_store, prompt_store
from certrad.workers.engine.certification import Certification
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.helper import Helper
from certrad.workers.engine.ledger import JobEndedError
from certrad.workers.engine.memory import used_memory
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.engine.selftest import ORDERED_SAMPLES, START_SAMPLES, record_selftest, run_selftest
from certrad.workers.engine.tuning import Tuning
from certrad.workers.queue import stopping
from certrad.workers.queue.shortage import raise_if_disk_is_full
from certrad.workers.queue.slices import SliceOverError
from certrad.workers.settings import WorkerSettings

_log = structlog.get_logger()
_runtime: Runtime | None = None
_selftest_seconds: float | None = None


def start(worker_name: str) -> None:
    """Makes this process an engine: passes the self-test and publishes what it offers.

    The self-test loads and warms up the default backbone, so that the first job does not pay for it.

    Args:
        worker_name: Name of the RQ worker.

    Raises:
        SelfTestFailedError: A check failed, so that this process must take no work.
    """
    global _runtime, _selftest_seconds  # RQ calls a task by its name, so an engine's state is its process's
    settings = WorkerSettings()
    _runtime = build(settings, connect(settings, is_stopping=stopping.requested), name=worker_name)
    report = run_selftest(_runtime, samples=START_SAMPLES)
    record_selftest(_runtime, worker_name, report)
    if not report.passed:
        raise SelfTestFailedError(report)
    _selftest_seconds = round(report.seconds, 3)
    prompt_store.publish_all(_runtime.redis, settings.prompts_dir)
    adapter_store.publish_all(_runtime.redis, settings.adapters_dir)
    calibration_store.publish_all(_runtime.redis, settings.calibrations_dir)
    _runtime.epochs.current()
    _runtime.epochs.publish(Keyring(_runtime.redis), clock=time.time)
    _runtime.catalogue.publish_worker(_runtime.card(worker_name, _selftest_seconds))
    _publish_memory(_runtime)


def republish(worker_name: str) -> None:
    """Publishes again what this engine offers: weights may have been fetched, and calibrations put there, since.

    A Redis that fails is logged.

    Args:
        worker_name: Name of the RQ worker.
    """
    if _runtime is None:
        raise RuntimeError("start() must run before republish()")
    try:
        _runtime.catalogue.publish_worker(_runtime.card(worker_name, _selftest_seconds))
        calibration_store.publish_all(_runtime.redis, _runtime.settings.calibrations_dir)
        _publish_memory(_runtime)
    except RedisError as error:
        _log.warning("engine not published", error=type(error).__name__)


def selftest(test_id: str) -> None:
    """Runs the self-test that an administrator ordered, and keeps its report; an engine that fails takes no more work.

    Args:
        test_id: The id of the self-test.

    Raises:
        SystemExit: A check failed; the parent starts a new engine, which tests itself again.
    """
    runtime = _runtime
    if runtime is None:
        raise RuntimeError("start() must run before the first self-test")
    report = run_selftest(runtime, samples=ORDERED_SAMPLES)
    SelfTests(runtime.redis).put(test_id, "engine", report)
    if not report.passed:
        raise SystemExit(SELFTEST_FAILED)


def certify(job_id: str) -> None:
    """Certifies the image of a job that intake has decoded, and hands the document to `finish`.

    Expected refusals end the job with their code. A lost Redis, a stop request or a dying process does not end it: RQ
    starts it again, here or elsewhere, and it resumes from the ledger.

    Args:
        job_id: The job's id.

    Raises:
        ConnectionError: Redis cannot be reached.
        TimeoutError: Redis does not answer.
        ResponseError: Redis takes no writes, and the process is to stop.
        ShortageError: The disk is full.
        StopRequested: The process is to stop.
        SystemExit: The accelerator failed.
    """
    _perform(job_id, _certify)


def assist(job_id: str) -> None:
    """Takes part in a certificate that another engine has; whatever goes wrong here, the job goes on there.

    Args:
        job_id: The job's id.

    Raises:
        RuntimeError: The engine has not started.
        SystemExit: The accelerator failed.
    """
    runtime = _started()
    try:
        record = Records(runtime.redis, ttl=runtime.settings.job_ttl).read(job_id)
        if record is None or record.ended:
            return
        helper = Helper(runtime=runtime, input=CertificationInput.of(record))
        helper.help()
        _log.info("assisted", job_id=job_id, batches=helper.committed)
    except (JobEndedError, stopping.StopRequested):
        return
    except torch.AcceleratorError as error:
        _log.error("accelerator failed", job_id=job_id, error=str(error).partition("\n")[0])
        raise SystemExit(1) from error
    except Exception as error:  # the rim: the job is another engine's, and nobody waits for this task
        _log.warning("no assistance", job_id=job_id, error=type(error).__name__)


def tune(job_id: str) -> None:
    """Tunes a prompt on the images that intake has decoded, publishes it, and hands the result to `finish`.

    It treats errors as `certify` does, and resumes from what is kept. When its slice is over and certificates wait, RQ
    hands it back behind those of this round.

    Args:
        job_id: The job's id.

    Raises:
        SliceOverError: Certificates wait.
    """
    _perform(job_id, _tune)


def _certify(runtime: Runtime, records: Records, record: JobRecord) -> None:
    given, began = CertificationInput.of(record), time.monotonic()
    labelling = Certification(runtime, records, given).certify()
    seconds, before = time.monotonic() - began, cast("SamplesDone", record.progress).samples_done
    if not before:  # another attempt's samples did not take this one's time
        note_certification(
            runtime.redis,
            given.request,
            device=runtime.device.type,
            seconds=seconds,
            estimation=labelling.estimation,
            labelling=labelling.seconds,
            samples=labelling.samples,
        )
    _publish_memory(runtime)


def _tune(runtime: Runtime, records: Records, record: JobRecord) -> None:
    Tuning(runtime, records, record).tune()
    _publish_memory(runtime)


def _perform(job_id: str, work: Callable[[Runtime, Records, JobRecord], None]) -> None:
    runtime = _started()
    records = Records(runtime.redis, ttl=runtime.settings.job_ttl)
    record = records.read(job_id)
    if record is None or record.ended:
        return
    try:
        with stopping.until(record.submission.deadline_at):
            work(runtime, records, record)
        _send_to_finish(runtime, record)
    except JobEndedError:
        return
    except (RedisConnectionError, RedisTimeoutError, stopping.StopRequested, SliceOverError):
        raise
    except torch.AcceleratorError as error:
        _log.error("accelerator failed", job_id=job_id, error=str(error).partition("\n")[0])
        raise SystemExit(1) from error  # its context is poisoned; the parent starts a new engine and RQ retries the job
    except Exception as error:  # the rim: whatever happened, the job must end with a code
        if refuses_writes(error):
            raise
        if isinstance(error, OSError):
            raise_if_disk_is_full(error)
        code, detail = _problem(error, runtime.settings)
        if code == "internal_error":
            _log.exception("engine failed", job_id=job_id)
        records.fail(job_id, code, detail)
        _send_to_finish(runtime, record)


def _send_to_finish(runtime: Runtime, record: JobRecord) -> None:
    enqueue(runtime.redis, "finish", record.id, settings=runtime.settings, tenant=record.submission.tenant)


def _started() -> Runtime:
    if _runtime is None:
        raise RuntimeError("start() must run before the first job")
    return _runtime


def _publish_memory(runtime: Runtime) -> None:
    publish_memory(runtime.redis, runtime.name, used_memory(runtime.device))


def _problem(error: Exception, settings: WorkerSettings) -> tuple[str, str]:
    match error:
        case Rejected(code=code, detail=detail):
            return code, detail
        case JobTimeoutException():
            return "job_timeout", f"the job ran longer than {settings.job_timeout} s"
        case _:
            return "internal_error", "the engine met an unexpected error"
