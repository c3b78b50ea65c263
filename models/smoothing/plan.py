"""The sampling plan of a certificate: its samples, their sigma, and their shares of alpha."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from certrad.models.smoothing.blocks import Blocks
from certrad.models.smoothing.certify import estimate, select
from certrad.models.smoothing.routing import ClassifierAt, estimate_routes, select_route
from certrad.models.smoothing.sampling import BaseClassifier, NoisySampler
from certrad.models.smoothing.selector import RouteSelector
from certrad.models.types import AutoSigma, FixedSigma, LabelCounts, SamplingParams, SigmaChoice, SmoothingParams
from certrad.models.types.evidence import Evidence, RoutedEvidence
from certrad.models.types.routing import RouteSelection, Selection, SigmaRouting

OnSamples = Callable[[int, LabelCounts | None, float | None], None]
"""(estimation samples done, class counts if they are of a class, running radius if there is a target radius)"""


class SamplingPlan(Protocol):
    """Draws the samples of a request, at its fixed sigma or at one that is chosen for the image."""

    def select(
        self, sampler: NoisySampler, classifier_at: ClassifierAt, on_progress: Callable[[int], None] | None = None
    ) -> Selection:
        """Returns the selection samples, which it draws.

        Args:
            sampler: Draws noisy copies of the image; its sigma does not matter.
            classifier_at: The base classifier for noise of a sigma.
            on_progress: See `certrad.models.smoothing.certify.select`.
        """

    def estimate(
        self,
        sampler: NoisySampler,
        classifier_at: ClassifierAt,
        selection: Selection,
        blocks_of: Callable[[str], Blocks],
        block_size: int | None = None,
        on_progress: OnSamples | None = None,
    ) -> Evidence:
        """Returns the evidence; draws the estimation samples that are not committed yet, and decides.

        Args:
            sampler: As in `select`.
            classifier_at: As in `select`.
            selection: What `select` returned.
            blocks_of: Name of a run of samples -> where its labels are kept. The name is "" where there is one run.
            block_size: See `certrad.models.smoothing.certify.estimate`.
            on_progress: Called after each batch that was computed; may raise to stop.
        """

    def labelling(
        self, run: str, sampler: NoisySampler, classifier_at: ClassifierAt
    ) -> tuple[NoisySampler, BaseClassifier]:
        """Returns what draws the samples of a run, and what labels them.

        Args:
            run: The name of the run, as `estimate` gives it to `blocks_of`.
            sampler: As in `select`.
            classifier_at: As in `select`.

        Raises:
            ValueError: There is no run of this name.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPlan:
    """All samples at one sigma, all of alpha on its class (CERTIFY, or SEQ-CERTIFY with a target radius).

    Attributes:
        params: The parameters of CERTIFY.
    """

    params: SmoothingParams

    def select(
        self, sampler: NoisySampler, classifier_at: ClassifierAt, on_progress: Callable[[int], None] | None = None
    ) -> Selection:
        """Returns n0 selection samples of the class; see `SamplingPlan.select`."""
        sigma = self.params.sigma
        return Selection(classes=select(sampler.with_sigma(sigma), classifier_at(sigma), self.params, on_progress))

    def estimate(
        self,
        sampler: NoisySampler,
        classifier_at: ClassifierAt,
        selection: Selection,
        blocks_of: Callable[[str], Blocks],
        block_size: int | None = None,
        on_progress: OnSamples | None = None,
    ) -> Evidence:
        """Returns the evidence of up to n samples of the class; see `SamplingPlan.estimate`."""
        params, sigma = self.params, self.params.sigma

        def tell(counts: LabelCounts, running_radius: float | None) -> None:
            if on_progress is not None:
                on_progress(counts.total, counts, running_radius)

        drawn = estimate(
            sampler.with_sigma(sigma), classifier_at(sigma), params, selection.classes, blocks_of(""), block_size, tell
        )
        return Evidence(
            sigma=sigma,
            alpha_split=params.alpha_split(len(drawn.counts.per_class)),
            selection=selection.classes,
            estimation=drawn.counts,
            labels=drawn.labels,
            outcome=drawn.outcome,
            decision=drawn.decision,
        )

    def labelling(
        self, run: str, sampler: NoisySampler, classifier_at: ClassifierAt
    ) -> tuple[NoisySampler, BaseClassifier]:
        """Returns what draws and what labels the only run; see `SamplingPlan.labelling`."""
        if run:
            raise ValueError(f"a fixed sigma has one run, without a name, got {run!r}")
        return sampler.with_sigma(self.params.sigma), classifier_at(self.params.sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPlan:
    """Samples of a selector, then of the routes that matter; alpha is shared by both (docs/mathematics.md, 4).

    Attributes:
        routing: The noise levels and the selector.
        params: Numbers of samples and error probability, without a target radius.
    """

    routing: SigmaRouting
    params: SamplingParams

    def select(
        self, sampler: NoisySampler, classifier_at: ClassifierAt, on_progress: Callable[[int], None] | None = None
    ) -> RouteSelection:
        """Returns n0 selection samples of the selector and n0 of the class; see `SamplingPlan.select`."""
        return select_route(sampler, classifier_at, self.params, self.routing, on_progress)

    def estimate(
        self,
        sampler: NoisySampler,
        classifier_at: ClassifierAt,
        selection: Selection,
        blocks_of: Callable[[str], Blocks],
        block_size: int | None = None,
        on_progress: OnSamples | None = None,
    ) -> RoutedEvidence:
        """Returns the evidence of the selector and of every route that matters; see `SamplingPlan.estimate`.

        Raises:
            TypeError: The selection chose no route.
        """
        if not isinstance(selection, RouteSelection):
            raise TypeError("an automatic sigma needs the selection samples of its selector, got only those of a class")

        def tell(done: int, counts: LabelCounts | None) -> None:
            if on_progress is not None:
                on_progress(done, counts, None)

        routed = estimate_routes(
            sampler,
            classifier_at,
            self.params,
            self.routing,
            selection,
            lambda route: blocks_of(_run_of(route)),
            block_size,
            tell,
        )
        return RoutedEvidence.of(routed)

    def labelling(
        self, run: str, sampler: NoisySampler, classifier_at: ClassifierAt
    ) -> tuple[NoisySampler, BaseClassifier]:
        """Returns what draws and what labels the run of the selector or of a route; see `SamplingPlan.labelling`."""
        if run == _run_of(None):
            selector = RouteSelector.of(sampler, self.routing)
            return sampler.with_sigma(self.routing.selector_sigma), selector
        for route, sigma in enumerate(self.routing.sigmas):
            if run == _run_of(route):
                return sampler.with_sigma(sigma), classifier_at(sigma)
        raise ValueError(f"the run must be of the selector or of a route, got {run!r}")


def _run_of(route: int | None) -> str:
    """Returns the name of the run of a route, or of the selector's."""
    return "selector:" if route is None else f"route-{route}:"


def plan_samples(sigma: SigmaChoice, params: SamplingParams) -> SamplingPlan:
    """Returns the sampling plan of a request.

    Args:
        sigma: The noise level, or what it is chosen from.
        params: Numbers of samples, error probability, and the target radius if there is one.
    """
    match sigma:
        case FixedSigma(fixed):
            return FixedPlan(params=params.at(fixed))
        case AutoSigma(routing):
            return RoutedPlan(routing=routing, params=params)
