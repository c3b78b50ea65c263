"""A routed classifier on the line: piecewise constant selector and routes, so that every radius is known exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

REACH, STEP = 4.0, 0.01
OFFSETS = np.linspace(-REACH, REACH, round(2 * REACH / STEP) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A function of one number z with finitely many values: values[i] between cuts[i - 1] and cuts[i]."""

    cuts: tuple[float, ...]
    values: tuple[int, ...]

    def probabilities(self, x: Floats, sigma: float, n_values: int) -> Floats:
        """P(value) at z = x + sigma eps: (len(x), n_values)."""
        below = special.ndtr((np.array(self.cuts)[None, :] - x[:, None]) / sigma)
        of_piece = np.diff(below, axis=1, prepend=0.0, append=1.0)
        found = np.zeros((len(x), n_values))
        for piece, value in enumerate(self.values):
            found[:, value] += of_piece[:, piece]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedLine:
    """The routed classifier at x = 0. The value B of the selector and the value K of a route mean `invalid`."""

    selector: Pieces
    selector_sigma: float
    routes: tuple[Pieces, ...]
    sigmas: tuple[float, ...]
    n_classes: int = 2

    def selector_probabilities(self, x: Floats) -> Floats:
        """q at each x: (len(x), B + 1)."""
        return self.selector.probabilities(x, self.selector_sigma, len(self.routes) + 1)

    def class_probabilities(self, route: int, x: Floats) -> Floats:
        """p of a route at each x: (len(x), K + 1)."""
        return self.routes[route].probabilities(x, self.sigmas[route], self.n_classes + 1)

    def answers(self) -> NDArray[np.int64]:
        """h at every one of OFFSETS; K where the route or the class is `invalid`."""
        chosen = self.selector_probabilities(OFFSETS).argmax(axis=1)
        of_route = [self.class_probabilities(b, OFFSETS).argmax(axis=1) for b in range(len(self.routes))]
        of_route.append(np.full(len(OFFSETS), self.n_classes))
        answers: NDArray[np.int64] = np.stack(of_route)[chosen, np.arange(len(OFFSETS))]
        return answers

    def distance(self, class_index: int) -> float:
        """Returns the distance, within STEP and REACH, of the nearest x at which h is not the class."""
        others = np.abs(OFFSETS[self.answers() != class_index])
        return float(others.min(initial=np.inf))
