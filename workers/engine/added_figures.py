"""Adds figures to what an engine has handed over, where they can be made and the job store has room for them."""

from dataclasses import dataclass

from certrad.models.types.evidence import Evidence
from certrad.models.types.figures import Figure
from certrad.models.types.variants import VariantsFound
from certrad.workers.contract.job_store import read_memory
from certrad.workers.contract.payloads import Payloads
from certrad.workers.engine import figures
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.job_setup import LabellingSetup
from certrad.workers.engine.ledger import JobEndedError
from certrad.workers.engine.runtime import Runtime
from certrad.workers.queue.shortage import INPUT_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedFigures:
    """The figures of one job that are made once its result is handed over.

    Every method raises JobEndedError if the job has ended, and StopRequested if the process is to stop.

    Attributes:
        runtime: The state of the engine process.
        input: The request and its image.
    """

    runtime: Runtime
    input: CertificationInput

    def add_example(self, setup: LabellingSetup, evidence: Evidence) -> None:
        """Adds an image within the radius.

        It is an image of the size of the model input: there is none where noise is added to the rendered image.

        Args:
            setup: What this engine labels the samples of the job with.
            evidence: The labels, and the outcome that follows from them.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        if setup.sampler.pixel_map is not None:
            return
        sampler, classifier = setup.sampler, setup.head.classifier(setup.model.backbone, evidence.sigma)
        self._put(
            "example",
            figures.example(
                self.input.request, evidence, sampler.image, classifier, sampler.noise.key, self.input.job_id
            ),
        )

    def add_renderings(self, setup: LabellingSetup, variants: VariantsFound | None) -> None:
        """Adds what the model saw of the variants: of very many, the counterexample and evenly some others.

        Args:
            setup: What this engine labels the samples of the job with.
            variants: What the variants show; None where none were asked for.

        Raises:
            JobEndedError: The job has ended.
            StopRequested: The process is to stop.
        """
        if variants is None or not variants.count:
            return
        side, count = setup.model.backbone.image_size, variants.count
        inputs = (
            (place, self.input.read_variant(self.runtime.redis, side, place))
            for place in coarse_to_fine(count, variants.counterexample)
        )
        self._put("renderings", figures.renderings(inputs, count, self.input.job_id))

    def _put(self, figure: Figure, content: bytes) -> None:
        redis = self.runtime.redis
        payloads = Payloads(redis, ttl=self.runtime.settings.input_ttl)
        has_room = read_memory(redis).has_room(len(content), share=INPUT_SHARE)
        if has_room and not payloads.put_figure(self.input.job_id, figure, content):
            raise JobEndedError(self.input.job_id)


def coarse_to_fine(count: int, counterexample: int | None) -> list[int]:
    """Returns the places of all renderings in an order whose every beginning is spread evenly over them.

    Args:
        count: How many renderings there are.
        counterexample: The place of the one that shows least, which comes first; None where all held.
    """
    steps = [1 << power for power in reversed(range(max(1, count).bit_length()))]
    places = (place for step in steps for place in range(0, count, step))
    return [*dict.fromkeys([*([] if counterexample is None else [counterexample]), *places])]
