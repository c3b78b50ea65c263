"""The evidence of a certificate: the labels of all its samples, and what they decided."""

import struct
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from models.certificates.labels import merkle_root, run_lengths
from models.types import Decision, LabelCounts, Outcome
from models.types.routing import Routed


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The labels of the samples, the outcome they decide, and how it was decided.

    labels: of the estimation samples in index order up to the stop, little-endian uint16; `invalid` is label K.
    routed: where sigma was chosen automatically, the samples of the selector and of all routes; those above are then
        of the selected route.
    """

    selection: LabelCounts
    estimation: LabelCounts
    labels: bytes
    outcome: Outcome
    decision: Decision
    routed: Routed | None = None

    def __post_init__(self) -> None:
        _check_labels(self.labels, self.estimation)
        for drawn in () if self.routed is None else (self.routed.selector, *self.routed.routes.values()):
            _check_labels(drawn.labels, drawn.counts)

    @property
    def selection_samples(self) -> int:
        """Those that chose the class, and the route."""
        return self.selection.total + (0 if self.routed is None else self.routed.selection.selector.total)

    @property
    def estimation_samples(self) -> int:
        """Those that bound probabilities: of classes, and of routes."""
        if self.routed is None:
            return self.estimation.total
        return sum(drawn.counts.total for drawn in (self.routed.selector, *self.routed.routes.values()))

    @property
    def samples_used(self) -> int:
        """Selection and estimation samples together."""
        return self.selection_samples + self.estimation_samples


def routed_evidence(routed: Routed) -> Evidence:
    """The evidence of an automatic choice of sigma."""
    return Evidence(
        selection=routed.selection.classes,
        estimation=routed.selected.counts,
        labels=routed.selected.labels,
        outcome=routed.outcome,
        decision=Decision(rule="certified_selection"),
        routed=routed,
    )


def transcript(labels: bytes, counts: LabelCounts) -> dict[str, Any]:
    """Labels and their counts as a document states them."""
    numbers = _numbers(labels)
    return {**asdict(counts), "labels": run_lengths(numbers), "merkle_root": merkle_root(numbers)}


def routing_block(routed: Routed) -> dict[str, Any]:
    """All about an automatic choice of sigma that a document does not state already about the selected route."""
    outcomes = [
        {"sigma": sigma, **asdict(bounds), "estimation": None}
        for sigma, bounds in zip((*routed.routing.sigmas, None), routed.bounds, strict=True)
    ]
    for route, drawn in routed.routes.items():
        if route != routed.selection.route:
            outcomes[route]["estimation"] = transcript(drawn.labels, drawn.counts)
    return {
        "settings": asdict(routed.routing),
        "alpha_split": {"p_a": routed.split.selector.p_a, "p_b": routed.split.selector.p_b},
        "route": routed.selection.route,
        "selection": asdict(routed.selection.selector),
        "estimation": transcript(routed.selector.labels, routed.selector.counts),
        "outcomes": outcomes,
    }


def routing_summary(routed: Routed) -> dict[str, Any]:
    """Which route was selected and what each outcome of the selector limits the radius to, without the samples."""
    outcomes = [
        {"sigma": sigma, "sampled": route in routed.routes, **asdict(bounds)}
        for route, (sigma, bounds) in enumerate(zip((*routed.routing.sigmas, None), routed.bounds, strict=True))
    ]
    return {"route": routed.selection.route, "selector_sigma": routed.routing.selector_sigma, "outcomes": outcomes}


def _check_labels(labels: bytes, counts: LabelCounts) -> None:
    stated = {label: count for label, count in enumerate((*counts.per_class, counts.invalid)) if count}
    if (found := Counter(_numbers(labels))) != stated:
        raise ValueError(f"the labels must count to {stated}, got {dict(sorted(found.items()))}")


def _numbers(labels: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(labels) // 2}H", labels)
