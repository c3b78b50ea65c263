"""The noise level of a request: the sender's own, or one that is chosen for the image."""

from dataclasses import dataclass

from certrad.models.types.routing import SigmaRouting
from certrad.models.types.smoothing import DEFAULT_SIGMA, check_sigma


@dataclass(frozen=True, slots=True)
class FixedSigma:
    """The sender's own noise level.

    Attributes:
        sigma: Noise standard deviation in model-input pixels of [0, 1], in [0.02, 2].
    """

    sigma: float = DEFAULT_SIGMA

    def __post_init__(self) -> None:
        check_sigma(self.sigma)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Returns the noise levels under which the claimed class may be counted."""
        return (self.sigma,)

    @property
    def largest(self) -> float:
        """Returns the largest noise level of any sample."""
        return self.sigma

    @property
    def first(self) -> float:
        """Returns the noise level of the first samples that are drawn."""
        return self.sigma

    @property
    def selection_runs(self) -> int:
        """Returns how many times n0 selection samples are drawn."""
        return 1

    @property
    def estimation_runs(self) -> int:
        """Returns how many times n estimation samples may be drawn."""
        return 1


@dataclass(frozen=True, slots=True)
class AutoSigma:
    """A noise level chosen for the image by certified selection (docs/mathematics.md, 4).

    Attributes:
        routing: The noise levels to choose from, and the selector.
    """

    routing: SigmaRouting

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Returns the noise levels under which the claimed class may be counted: one for each route."""
        return self.routing.sigmas

    @property
    def largest(self) -> float:
        """Returns the largest noise level of any sample."""
        return max(*self.routing.sigmas, self.routing.selector_sigma)

    @property
    def first(self) -> float:
        """Returns the noise level of the first samples that are drawn: the selector's."""
        return self.routing.selector_sigma

    @property
    def selection_runs(self) -> int:
        """Returns how many times n0 selection samples are drawn: for the route, then for its class."""
        return 2

    @property
    def estimation_runs(self) -> int:
        """Returns how many times n estimation samples may be drawn: for the selector, and for every route."""
        return 1 + len(self.routing.sigmas)


SigmaChoice = FixedSigma | AutoSigma
