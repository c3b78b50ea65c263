"""The helper: an idle engine that computes batches of a certificate that another engine has."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from certrad.models.smoothing import Stream
from certrad.models.smoothing.blocks import Layout
from certrad.models.smoothing.labelling import label_batches
from certrad.models.smoothing.prefix import commit_batch
from certrad.models.smoothing.sampling import BaseClassifier, Sampler
from certrad.workers.contract.names import ENGINE_QUEUE
from certrad.workers.contract.queues import queue
from certrad.workers.contract.tickets import is_ticket
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.claims import Claims, current_run
from certrad.workers.engine.disagreement import report_redone
from certrad.workers.engine.job_setup import SetupFactory
from certrad.workers.engine.ledger import RedisLedger
from certrad.workers.engine.runtime import Runtime
from certrad.workers.queue import stopping

_POLL_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 2.0


@dataclass(slots=True, kw_only=True)
class Helper:
    """One engine's part in a job that another engine has.

    It decides nothing and publishes nothing: it labels the batches that it gets, and leaves when there is none, when a
    job waits for an engine, when the process is to stop, or when the job has ended.

    Attributes:
        runtime: The state of the engine process.
        input: The request and its image.
        committed: Batches that this engine has committed.
    """

    runtime: Runtime
    input: CertificationInput
    committed: int = field(default=0, init=False)

    def help(self) -> None:
        """Labels batches as long as there are any for this engine.

        Raises:
            JobEndedError: The job has ended.
            Rejected: This engine cannot take part in the job.
            StopRequested: The process is to stop.
        """
        redis, job_id, ttl = self.runtime.redis, self.input.job_id, self.runtime.settings.input_ttl
        if self._job_waits() or (run := current_run(redis, job_id)) is None:
            return
        factory = SetupFactory(runtime=self.runtime, input=self.input)
        entry = RedisLedger(redis, job_id, ttl=ttl, raise_if_stopped=stopping.raise_if_stopped).fixed()
        if entry is None or not factory.could_prepare(entry):
            return
        name, layout = run
        claims = Claims(redis=redis, job_id=job_id, run=name, ttl=ttl)
        ledger = RedisLedger(
            redis,
            job_id,
            ttl=ttl,
            raise_if_stopped=stopping.raise_if_stopped,
            part=name,
            engine=self.runtime.name,
            on_redone=report_redone(job_id),
        )
        setup = factory.prepare(entry)
        sampler, classifier = self.input.plan.labelling(name, setup.sampler, setup.classifier_at)
        label_claimed(sampler, classifier, layout, claims, ledger, self._count)

    def _count(self) -> None:
        self.committed += 1

    def _job_waits(self) -> bool:
        waiting = queue(self.runtime.redis, ENGINE_QUEUE).job_ids
        return not all(is_ticket(rq_id) for rq_id in waiting)


def label_claimed(
    sampler: Sampler,
    classifier: BaseClassifier,
    layout: Layout,
    claims: Claims,
    ledger: RedisLedger,
    on_batch: Callable[[], None],
) -> None:
    """Labels and commits batches until there are none for a helper, and gives back what it claimed beyond.

    Args:
        sampler: Draws the samples of the run.
        classifier: Labels them.
        layout: How the samples are cut.
        claims: The claims of this engine.
        ledger: Where the labels are kept.
        on_batch: Called after each batch.

    Raises:
        JobEndedError: The job has ended.
        StopRequested: The process is to stop.
    """

    def starts() -> Iterator[int]:
        while (start := claims.help()) is not None:
            yield start

    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while time.monotonic() < deadline:
            with closing(label_batches(sampler, classifier, Stream.ESTIMATE, starts())) as batches:
                for start, labels in batches:
                    commit_batch(ledger, layout, start, labels, layout.blocks(start))
                    on_batch()
                    deadline = time.monotonic() + _PATIENCE_SECONDS
                    if claims.job_waits:
                        return
            if not claims.has_to_wait:
                return
            stopping.raise_if_stopped()
            time.sleep(_POLL_SECONDS)
    finally:
        claims.release()
