"""How far the sampling of one job has come, told to whoever watches it."""

import time
from dataclasses import dataclass
from typing import Final

from certrad.models.types import CertifyRequest, LabelCounts
from certrad.workers.contract.records import Records
from certrad.workers.engine.ledger import JobEndedError
from certrad.workers.queue import stop as stopping

_PROGRESS_SECONDS: Final = 0.25


@dataclass(slots=True)
class SamplingProgress:
    """Publishes the samples done, a few times a second at most; every method raises JobEndedError once it has ended."""

    records: Records
    job_id: str
    request: CertifyRequest
    told: float = 0.0

    def selection(self, done: int) -> None:
        """Of the selection samples, while no class is counted; also raises what `stopping.check` raises."""
        stopping.check()
        self._tell(done, self._none)

    def estimation(self, counts: LabelCounts, running_radius: float | None) -> None:
        """Of the estimation samples of one sigma."""
        self._tell(self.request.params.n0 + counts.total, counts, running_radius)

    def routes(self, done: int, counts: LabelCounts | None) -> None:
        """Of the estimation samples of automatic sigma: all that are done, and the classes of the route at hand."""
        self._tell(2 * self.request.params.n0 + done, counts or self._none)

    @property
    def _none(self) -> LabelCounts:
        return LabelCounts(per_class=(0,) * len(self.request.classifier.class_names))

    def _tell(self, done: int, counts: LabelCounts, running_radius: float | None = None) -> None:
        now = time.monotonic()
        if now - self.told < _PROGRESS_SECONDS:
            return
        self.told = now
        if not self.records.progress(
            self.job_id,
            samples_done=done,
            counts=counts.per_class,
            invalid=counts.invalid,
            running_radius=running_radius,
        ):
            raise JobEndedError(self.job_id)
