"""Jobs that end without an engine: a test leaves document and result of a certification, and the job is finished."""

from dataclasses import dataclass, replace
from typing import Any, Final

from redis import Redis

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.applied_window import FullRange
from certrad.models.types.image import ImageRecord
from certrad.workers import issue
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.job import RESULT, JobRecord
from certrad.workers.contract.names import document_key
from certrad.workers.contract.records import Records
from certrad.workers.contract.submission import Submission
from certrad.workers.intake import tasks as intake
from certrad.workers.settings import WorkerSettings
from tests.support.certificates import answered

REQUEST: Final = CertifyRequest(
    classifier=ClassifierSpec(
        backbone="demo", prompt="template", class_names=("chest X-ray", "head CT"), template="a photo of a {}"
    )
)
CERTIFIED: Final = (0.9, 0.1)
ABSTAINED: Final = (0.5, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnder:
    """Plays the API and the engine; intake is real, in the process of the test."""

    records: Records
    redis: Redis
    settings: WorkerSettings

    def submit(self, data: bytes, *, job_id: str = "job1", tenant: str = LOCAL_TENANT, **request: Any) -> str:
        """Stores an upload with its record, as the API does."""
        submission = Submission(tenant=tenant)
        self.records.create(job_id, replace(REQUEST, **request), max_active=100, digest="0" * 64, submission=submission)
        self.settings.blobs_dir.mkdir(parents=True, exist_ok=True)
        (self.settings.blobs_dir / job_id).write_bytes(data)
        return job_id

    def certify(self, job_id: str, probabilities: tuple[float, float] = CERTIFIED) -> None:
        """Decodes the upload and leaves document and result as an engine does."""
        intake.decode(job_id)
        record = self.read(job_id)
        assert isinstance(record.image, ImageRecord), record.error
        assert isinstance(record.request, CertifyRequest)
        facts = answered(
            record.request,
            probabilities,
            pixels_sha256=record.image.pixels_sha256,
            input_sha256=record.image.input_sha256,
            scale=record.image.scale,
            window=record.image.window or FullRange(),
        )
        told = RESULT.dump_json(certification_result(facts, warnings=[], timing={}))
        self.redis.hset(document_key(job_id), mapping={"document": canonical(document(facts)), "result": told})

    def end(self, data: bytes, probabilities: tuple[float, float] = CERTIFIED, **request: Any) -> JobRecord:
        """Submits an upload and ends its job."""
        job_id = self.submit(data, **request)
        self.certify(job_id, probabilities)
        issue.finish(job_id)
        return self.read(job_id)

    def read(self, job_id: str) -> JobRecord:
        """The record of a job."""
        record = self.records.read(job_id)
        assert record is not None
        return record
