"""Ends the job of a task that raises an error."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from redis.exceptions import ConnectionError, TimeoutError
from rq.timeouts import BaseTimeoutException, JobTimeoutException

from certrad.models.errors import Rejected
from certrad.workers.contract import uploads
from certrad.workers.contract.records import Records
from certrad.workers.contract.waiting import refuses_writes
from certrad.workers.queue.shortage import ShortageError
from certrad.workers.sandbox.child import SandboxError
from certrad.workers.settings import WorkerSettings


@contextmanager
def end_job_on_error(job_id: str, settings: WorkerSettings, records: Records) -> Iterator[None]:
    """Ends the job with a code for every error, except those after which RQ repeats or gives up the task.

    Args:
        job_id: The job's id.
        settings: The time limit of the message.
        records: The job records.

    Raises:
        ConnectionError: Redis cannot be reached, so that RQ tries again.
        TimeoutError: Redis does not answer, so that RQ tries again.
        ResponseError: Redis takes no writes and this process is to stop, so that RQ hands the task back.
        ShortageError: There is no room for now, so that RQ tries again later.
        BaseTimeoutException: A time limit of RQ other than that of the job has passed; the record has not ended.
    """
    try:
        yield
    except JobTimeoutException:  # it would take as long again, and others' images wait
        records.fail(job_id, "job_timeout", f"the job ran longer than {settings.job_timeout} s")
        uploads.delete(settings.blobs_dir, job_id)
    except (ConnectionError, TimeoutError, BaseTimeoutException, ShortageError):
        raise
    except Rejected as rejected:
        records.fail(job_id, rejected.code, rejected.detail)
        uploads.delete(settings.blobs_dir, job_id)
    except Exception as error:
        if refuses_writes(error):
            raise
        in_sandbox = str(error) if isinstance(error, SandboxError) else None
        structlog.get_logger().error("task failed", job_id=job_id, in_sandbox=in_sandbox, exc_info=error)
        records.fail(job_id, "internal_error", "an unexpected error occurred; its trace is in the log")
        uploads.delete(settings.blobs_dir, job_id)
