"""Jobs as an engine gets them, and single attempts at them, in the process of the test."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.shipped import shipped_tasks
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.image import ImageRecord
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import document_key, events_key, input_key
from certrad.workers.contract.records import Records
from certrad.workers.engine.certification import Certification
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.ledger import RedisLedger
from certrad.workers.engine.runtime import Runtime
from tests.support.image_facts import image_facts

Image = NDArray[np.float32]
Submit = Callable[..., JobRecord]

TASK = shipped_tasks()["mednist"]
TEMPLATE = ClassifierSpec(backbone="demo", prompt="template", class_names=TASK.class_names, template=TASK.template)
"""The hand-written prompt of the task on the embedded backbone."""


class StoppedError(Exception):
    """The test's own interruption."""


def decoded(redis: Redis, job_id: str, request: CertifyRequest, image: Image) -> JobRecord:
    """Puts a job into Redis as intake does, with an invented image behind its model input, and returns its record."""
    payload = image.astype("<f4").tobytes()
    digest = hashlib.sha256(payload).hexdigest()
    return waiting(redis, job_id, request, payload, image_facts(input_sha256=digest, side=image.shape[-1]))


def waiting(redis: Redis, job_id: str, request: CertifyRequest, payload: bytes, facts: ImageRecord) -> JobRecord:
    """Puts a job with its model input and the facts of its image into Redis, and returns its record."""
    records = Records(redis, ttl=600)
    records.create(job_id, request, max_active=100, digest="0" * 64)
    redis.set(input_key(job_id), payload)
    records.enter(job_id, "waiting", image=facts)
    record = records.read(job_id)
    assert record is not None
    return record


def submitter(redis: Redis, image: Image, usual: CertifyRequest) -> Submit:
    """A function that leaves the job of an id, with the usual request or another one, and returns its record."""

    def submit(job_id: str, request: CertifyRequest = usual) -> JobRecord:
        return decoded(redis, job_id, request, image)

    return submit


def attempt(runtime: Runtime, record: JobRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """Document and result that one attempt hands over."""
    Certification(runtime, Records(runtime.redis, ttl=600), CertificationInput.of(record)).certify()
    stored: Any = runtime.redis.hgetall(document_key(record.id))
    return json.loads(stored[b"document"]), json.loads(stored[b"result"])


def template_classifier(runtime: Runtime, document: dict[str, Any]) -> VisionLanguageClassifier:
    """The classifier of `TEMPLATE`, in the precision that a document names."""
    backbone = runtime.backbone(TEMPLATE.backbone, document["classifier"]["parts"][0]["dtype"])
    return VisionLanguageClassifier(backbone, template_features(backbone, TEMPLATE.class_names, TEMPLATE.template))


def events_of(redis: Redis, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of every event of a job, in order."""
    entries: Any = redis.xrange(events_key(job_id))
    return [(fields[b"event"].decode(), json.loads(fields[b"data"])) for _, fields in entries]


@contextmanager
def stopping_after(commits: int) -> Iterator[None]:
    """Within it, an engine is interrupted once it has committed so many blocks, which it must come to do."""
    commit, done = RedisLedger.commit, 0

    def commit_some(ledger: RedisLedger, start: int, labels: bytes) -> bytes:
        nonlocal done
        standing = commit(ledger, start, labels)
        done += 1
        if done >= commits:
            raise StoppedError
        return standing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedisLedger, "commit", commit_some)
        with pytest.raises(StoppedError):
            yield
