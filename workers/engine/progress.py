"""Publishes the progress of the sampling of one job."""

import time
from dataclasses import dataclass
from typing import Final

from certrad.models.smoothing.curve import bounds_now
from certrad.models.types import Certificate, CertifyRequest, FixedSigma, LabelCounts
from certrad.workers.contract.progress import RunningBound
from certrad.workers.contract.records import Records
from certrad.workers.engine.ledger import JobEndedError
from certrad.workers.queue import stopping

_PROGRESS_SECONDS: Final = 0.25


@dataclass(slots=True)
class SamplingProgress:
    """Publishes the samples done, a few times a second at most.

    Every method raises JobEndedError once the job has ended.

    Attributes:
        records: The job records.
        job_id: The job's id.
        request: Says how many selection samples and classes there are.
        variants: How many variants intake has rendered.
        class_index: The class that the selection samples chose; None before, and where they chose none.
        published_at: Monotonic seconds of the last publication.
        of_file: The last counts of the file's own estimation samples.
        variants_done: Variants whose samples are drawn.
    """

    records: Records
    job_id: str
    request: CertifyRequest
    variants: int = 0
    class_index: int | None = None
    published_at: float = 0.0
    of_file: LabelCounts | None = None
    variants_done: int = 0

    def selection(self, done: int) -> None:
        """Publishes selection samples, while no class is counted.

        Args:
            done: Samples of this run of selection samples.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        stopping.raise_if_stopped()
        self._publish(done, None, None)

    def estimation(self, done: int, counts: LabelCounts | None, running_radius: float | None) -> None:
        """Publishes estimation samples.

        Args:
            done: Estimation samples that are done, of all runs.
            counts: Counts of the class's samples so far; None while the selector's are drawn.
            running_radius: With a target radius, the radius that is proved so far.

        Raises:
            JobEndedError: The job has ended.
        """
        self.of_file = counts
        self._publish(self.request.selection_samples + done, counts, running_radius)

    def variant(self) -> None:
        """Publishes that the samples of one more variant are drawn; the counts stay those of the file itself.

        Raises:
            JobEndedError: The job has ended.
        """
        self.variants_done += 1
        self._publish(self.request.samples_with(self.variants_done), self.of_file, None)

    def in_windows(self, done: int) -> None:
        """Publishes samples with noise on the window; the counts stay those of the file itself.

        Args:
            done: Samples that are done.

        Raises:
            JobEndedError: The job has ended.
        """
        self._publish(self.request.selection_samples + self.request.estimation_samples + done, self.of_file, None)

    def _publish(self, done: int, counts: LabelCounts | None, running_radius: float | None) -> None:
        now = time.monotonic()
        if now - self.published_at < _PROGRESS_SECONDS:
            return
        self.published_at = now
        counts = counts or LabelCounts(per_class=(0,) * len(self.request.classifier.class_names))
        if not self.records.progress(
            self.job_id,
            samples_done=done,
            samples_total=self.request.samples_with(self.variants),
            counts=counts.per_class,
            invalid=counts.invalid,
            running_radius=running_radius,
            running_bound=self._bound(counts),
        ):
            raise JobEndedError(self.job_id)

    def _bound(self, counts: LabelCounts) -> RunningBound | None:
        """Returns what counts at a fixed n and sigma would show, had the run been planned with so many samples."""
        sigma, params = self.request.sigma, self.request.params
        if self.class_index is None or not counts.total or params.target_radius or not isinstance(sigma, FixedSigma):
            return None
        split = params.alpha_split(len(counts.per_class))
        outcome = bounds_now(self.class_index, counts, split, sigma.sigma)
        return RunningBound(
            samples=counts.total,
            p_a_lower_if_ended_now=outcome.p_a_lower,
            radius_if_ended_now=outcome.radius if isinstance(outcome, Certificate) else None,
        )
