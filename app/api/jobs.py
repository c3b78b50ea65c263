"""The jobs as the API changes them: it submits, reads, cancels and erases them."""

import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Callable
from typing import BinaryIO, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from certrad.app.api.job_refusals import refusals
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS, Rejected
from certrad.workers.contract import outputs, uploads
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.job import Created, JobRecord, Page, UnreadableRecordError
from certrad.workers.contract.job_store import read_memory
from certrad.workers.contract.names import FIRST_STAGE, idempotency_key
from certrad.workers.contract.outputs import OutputKind
from certrad.workers.contract.queues import enqueue
from certrad.workers.contract.records import Records
from certrad.workers.contract.request import Request, write_request
from certrad.workers.contract.stages import stop_stages
from certrad.workers.contract.submission import Submission

_SHARE_FOR_NEW_JOBS: Final = 0.8  # of the job store's memory; the rest is for the jobs that were accepted
_ENDED: Final = {"succeeded": "tuned a prompt", "failed": "failed", "cancelled": "was cancelled"}
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Jobs:
    """Makes every change that the API makes to a job."""

    def __init__(self, redis: Redis, settings: ApiSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock
        self._records = Records(redis, ttl=settings.job_ttl)

    def submit(
        self, upload: BinaryIO, request: Request, submission: Submission, *, idempotency: str | None = None
    ) -> Created:
        """Stores the upload, creates the job and enqueues its first stage; a refusal undoes all of it.

        If Redis fails to answer, the job may have been created: its upload stays, so that it can run. The reaper
        deletes an upload that no job names. If Redis answers with a refusal, there is no job and no upload stays.

        Args:
            upload: The image, or the archive of images.
            request: The request with every default filled in.
            submission: Who sends it.
            idempotency: The Idempotency-Key; a second submission with it returns the job of the first one.

        Returns:
            The job of the submission.

        Raises:
            Rejected: job_store_full, storage_unavailable, queue_full, tenant_quota_exceeded, urgent_quota_exceeded,
                idempotency_conflict.
            RedisError: Redis refused or did not answer.
        """
        self._require_memory()
        idempotency_sha256 = _idempotency_sha256(submission.tenant, idempotency) if idempotency else None
        job_id = uuid.uuid4().hex
        upload_sha256 = uploads.store(
            self._settings.blobs_dir, job_id, upload, min_free_bytes=self._settings.min_free_bytes
        )
        digest = _digest(upload_sha256, request, submission)
        try:
            created = self._create(job_id, request, submission, digest=digest, idempotency_sha256=idempotency_sha256)
        except BaseException as error:  # whatever it was, it is raised again; nothing may be left behind
            if isinstance(error, ResponseError) or not isinstance(error, RedisError):
                uploads.delete(self._settings.blobs_dir, job_id)
            raise
        if created.replayed:
            uploads.delete(self._settings.blobs_dir, job_id)
            return created
        try:
            stage, tenant = FIRST_STAGE[request.kind], submission.tenant
            enqueue(self._redis, stage, job_id, settings=self._settings, urgent=request.urgent, tenant=tenant)
        except BaseException:  # whatever it was, it is raised again; nothing may be left behind
            self._take_back(job_id, idempotency_sha256)
            raise
        return created

    def knows(self, tenant: str, idempotency: str | None) -> bool:
        """Returns whether an Idempotency-Key of a tenant belongs to a job already.

        Args:
            tenant: The tenant.
            idempotency: The key; None for none.
        """
        return idempotency is not None and bool(
            self._redis.exists(idempotency_key(_idempotency_sha256(tenant, idempotency)))
        )

    def read(self, job_id: str, tenant: str) -> JobRecord:
        """Returns the record of a job; that of another tenant is as unknown as one that there never was.

        Args:
            job_id: The id as the client gave it.
            tenant: The tenant that asks.

        Raises:
            Rejected: job_not_found, job_unreadable.
        """
        try:
            record = self._records.read(job_id) if _ID.fullmatch(job_id) else None
        except UnreadableRecordError:
            if self._records.tenant(job_id) == tenant:
                raise Rejected("job_unreadable", "this version cannot read the record") from None
            record = None
        if record is None or record.submission.tenant != tenant:
            raise Rejected("job_not_found", "the job is unknown, was erased, or is past its time to live")
        return record

    def model_input(self, job_id: str, tenant: str) -> bytes:
        """Returns the model input of a job's image, before noise, as a PNG.

        Args:
            job_id: The id as the client gave it.
            tenant: The tenant that asks.

        Raises:
            Rejected: job_not_found, job_unreadable, job_has_no_input, output_expired.
        """
        record = self.read(job_id, tenant)
        if record.image is None or record.request.kind != "certify":
            raise Rejected("job_has_no_input", f"the job is {record.status} in phase {record.phase}")
        return self.unexpired(record, lambda: uploads.read(self._settings.outputs_dir, job_id))

    def certified(self, job_id: str, tenant: str) -> tuple[JobRecord, str]:
        """Returns a job that ended with a certificate, and the certificate's SHA-256.

        Args:
            job_id: The id as the client gave it.
            tenant: The tenant that asks.

        Raises:
            Rejected: job_not_found, job_unreadable, job_not_finished, job_has_no_certificate.
        """
        record = self.read(job_id, tenant)
        if not record.ended:
            raise Rejected("job_not_finished", f"the job is {record.status}")
        if record.certificate is None:
            raise Rejected("job_has_no_certificate", f"the job {_ENDED[record.status]}")
        return record, record.certificate

    def output(self, record: JobRecord, kind: OutputKind) -> bytes:
        """Returns a report about the certificate of a job.

        Args:
            record: A job that `certified` returned.
            kind: The kind of report.

        Raises:
            Rejected: no_structured_report, hospital_extra_missing, output_failed, output_expired.
        """
        if (code := record.outputs.get(kind)) is not None:
            raise Rejected(code if code in PROBLEMS else "output_failed", "")
        return self.unexpired(record, lambda: outputs.read(self._settings.outputs_dir, record.id, kind))

    def unexpired(self, record: JobRecord, read: Callable[[], bytes]) -> bytes:
        """Returns what is read, unless the job ended too long ago or the file is gone.

        Args:
            record: The record of the job.
            read: Reads the file.

        Raises:
            Rejected: output_expired.
        """
        expired = record.ended and self._clock() - record.updated_at > self._settings.output_ttl
        try:
            content = None if expired else read()
        except FileNotFoundError:
            content = None
        if content is None:
            raise Rejected(
                "output_expired", f"the service keeps outputs for {self._settings.output_ttl} s after the job ends"
            )
        return content

    def page(self, *, tenant: str, before: float, limit: int) -> Page:
        """Returns the newest jobs of a tenant created before a time, and where the next page begins.

        Args:
            tenant: The tenant that asks.
            before: Seconds since 1970, exclusive.
            limit: The number of jobs at most.
        """
        return self._records.listing.page(tenant=tenant, before=before, limit=limit)

    def cancel(self, job_id: str) -> None:
        """Ends a job, stops the worker that runs it and deletes its files; a job that has ended stays as it is.

        Args:
            job_id: The id of a job.
        """
        if not self._records.cancel(job_id):
            return
        stop_stages(self._redis, job_id)
        self._delete_files(job_id)

    def erase(self, job_id: str) -> None:
        """Removes an ended job with its upload and its output; its certificate, which holds digests only, stays.

        Args:
            job_id: The id of an ended job.
        """
        self._records.erase(job_id)
        self._delete_files(job_id)

    def _delete_files(self, job_id: str) -> None:
        uploads.delete(self._settings.blobs_dir, job_id)
        outputs.delete(self._settings.outputs_dir, job_id)

    def _require_memory(self) -> None:
        if not read_memory(self._redis).has_room(0, share=_SHARE_FOR_NEW_JOBS):
            raise Rejected(
                "job_store_full", f"the job store uses more than {_SHARE_FOR_NEW_JOBS:.0%} of the memory it may use"
            )

    def _create(
        self, job_id: str, request: Request, submission: Submission, *, digest: str, idempotency_sha256: str | None
    ) -> Created:
        for _ in range(2):
            with refusals(self._settings):
                created = self._records.create(
                    job_id,
                    request,
                    submission=submission,
                    max_active=self._settings.max_queued,
                    max_of_tenant=self._settings.max_queued_of_tenant,
                    max_urgent=self._settings.max_urgent,
                    digest=digest,
                    idempotency_sha256=idempotency_sha256,
                )
            if not created.replayed or self._records.status(created.job_id) is not None:
                break
            # The first submission's job was erased since: its key is free again.
            self._forget_idempotency_key(idempotency_sha256)
        return created

    def _take_back(self, job_id: str, idempotency_sha256: str | None) -> None:
        """Undoes a submission that could not be enqueued.

        If Redis cannot undo it either, record and upload stay together, and the job runs as soon as Redis is back.
        """
        try:
            self._records.erase(job_id)
            self._forget_idempotency_key(idempotency_sha256)
        except RedisError:
            return
        uploads.delete(self._settings.blobs_dir, job_id)

    def _forget_idempotency_key(self, idempotency_sha256: str | None) -> None:
        if idempotency_sha256 is not None:
            self._redis.delete(idempotency_key(idempotency_sha256))


def _idempotency_sha256(tenant: str, idempotency: str) -> str:
    """Returns the SHA-256 under which an Idempotency-Key is kept: two tenants may use the same one.

    A release without tenants kept the digest of the key alone. Whatever key the local tenant chooses, that is never the
    code of another tenant's.
    """
    if tenant == LOCAL_TENANT:
        return hashlib.sha256(idempotency.encode()).hexdigest()
    return hmac.new(tenant.encode(), idempotency.encode(), hashlib.sha256).hexdigest()


def _digest(upload_sha256: str, request: Request, submission: Submission) -> str:
    """Returns the SHA-256 that an Idempotency-Key stands for: of upload, resolved request, reference and callback.

    Another reference is another request: it may stand for another patient. So is another callback: whoever names it
    would wait for it in vain.
    """
    reference, callback = submission.reference, submission.callback
    named = b"" if reference is None else b"\0" + reference.encode()
    called = b"" if callback is None else b"\1" + callback.encode()  # neither of them has such a character
    return hashlib.sha256(bytes.fromhex(upload_sha256) + write_request(request) + named + called).hexdigest()
