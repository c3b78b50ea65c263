"""The evidence of one certificate: the counted labels and the outcome that follows from them."""

import struct
from collections import Counter
from dataclasses import dataclass

from certrad.models.types.routing import Routed
from certrad.models.types.smoothing import AlphaSplit, Decision, LabelCounts, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The samples at one noise level, and the outcome that follows from them.

    Attributes:
        sigma: Noise standard deviation under which the class was counted, in model-input pixels of [0, 1].
        alpha_split: The shares of alpha that were spent on the class.
        selection: Counts of the n0 selection samples, which chose the class.
        estimation: Counts of the estimation samples up to the stop, which bound its probability.
        labels: Labels of the estimation samples in index order, little-endian uint16; `invalid` is label K.
        outcome: A certificate, or an abstention.
        decision: The rule that decided.
    """

    sigma: float
    alpha_split: AlphaSplit
    selection: LabelCounts
    estimation: LabelCounts
    labels: bytes
    outcome: Outcome
    decision: Decision

    def __post_init__(self) -> None:
        _check_labels(self.labels, self.estimation)

    @property
    def selection_samples(self) -> int:
        """Returns the number of samples that chose the class."""
        return self.selection.total

    @property
    def estimation_samples(self) -> int:
        """Returns the number of samples that bound a probability."""
        return self.estimation.total

    @property
    def samples_used(self) -> int:
        """Returns the number of selection and estimation samples together."""
        return self.selection_samples + self.estimation_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedEvidence(Evidence):
    """The samples of an automatic choice of sigma; those of the class are of the selected route.

    Attributes:
        routed: The samples and bounds of the selector and of every route.
    """

    routed: Routed

    def __post_init__(self) -> None:
        for drawn in (self.routed.selector, *self.routed.routes.values()):
            _check_labels(drawn.labels, drawn.counts)

    @staticmethod
    def of(routed: Routed) -> "RoutedEvidence":
        """Returns the evidence of an automatic choice of sigma.

        Args:
            routed: The samples, the bounds and the outcome.
        """
        return RoutedEvidence(
            sigma=routed.sigma,
            alpha_split=routed.split.classes,
            selection=routed.selection.classes,
            estimation=routed.selected.counts,
            labels=routed.selected.labels,
            outcome=routed.outcome,
            decision=Decision(rule="certified_selection"),
            routed=routed,
        )

    @property
    def selection_samples(self) -> int:
        """Returns the number of samples that chose the route, and of those that chose its class."""
        return self.selection.total + self.routed.selection.selector.total

    @property
    def estimation_samples(self) -> int:
        """Returns the number of samples of the selector and of every route that was sampled."""
        return sum(drawn.counts.total for drawn in (self.routed.selector, *self.routed.routes.values()))


def label_numbers(labels: bytes) -> tuple[int, ...]:
    """Returns the labels that are stored as little-endian uint16.

    Args:
        labels: The stored bytes.
    """
    return struct.unpack(f"<{len(labels) // 2}H", labels)


def _check_labels(labels: bytes, counts: LabelCounts) -> None:
    stated = {label: count for label, count in enumerate((*counts.per_class, counts.invalid)) if count}
    if (counted := Counter(label_numbers(labels))) != stated:
        raise ValueError(f"the labels must count to {stated}, got {dict(sorted(counted.items()))}")
