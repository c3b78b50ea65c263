"""Certified accuracy at each radius from counts per image, with exact binomial intervals, as JSON and Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from certrad.bench.common.noisy_images import ADAPTED, Counts, MethodCounts, Record
from certrad.models.smoothing import decide
from certrad.models.smoothing.accuracy import RADII, Share, certified_accuracy
from certrad.models.types import Abstention, LabelCounts, Outcome, Scope, SmoothingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One method at one sigma.

    clean_accuracy: of the prompt as it was used at this sigma, on the images without noise.
    noisy_sample_accuracy: mean share of the estimation samples that get the true label.
    certified_accuracy: radius -> share of images certified for their true class at that radius or beyond.
    """

    method: str
    scope: Scope
    sigma: float
    n: int
    images: int
    clean_accuracy: Share
    noisy_sample_accuracy: float
    abstained: Share
    certified_accuracy: dict[str, Share]


def summarise(
    records: Sequence[Record], params: Iterable[SmoothingParams], *, check: bool = False
) -> list[MethodResult]:
    """The result of each method at each sigma; with `check`, of the images and counts of the check."""
    results = []
    for of_sigma in params:
        chosen = [record for record in records if record.sigma == of_sigma.sigma]
        if check:
            chosen = [record for record in chosen if all(counts.check for counts in record.methods.values())]
        results += [
            summarise_method(chosen, name, of_sigma, check=check) for name in (chosen[0].methods if chosen else ())
        ]
    return results


def summarise_method(records: Sequence[Record], method: str, params: SmoothingParams, *, check: bool) -> MethodResult:
    """The result of one method at one sigma; `params.n` says how many samples the counts hold."""
    labels = [record.label for record in records]
    found = [record.methods[method] for record in records]
    estimations = [_estimation(counts, check=check) for counts in found]
    outcomes: list[Outcome] = [
        decide(label_counts(counts.selection), label_counts(estimation), params)
        for counts, estimation in zip(found, estimations, strict=True)
    ]
    pairs, images = list(zip(outcomes, labels, strict=True)), len(records)
    return MethodResult(
        method=method,
        scope="frozen_prompt" if method in ADAPTED else "input_independent",
        sigma=params.sigma,
        n=params.n,
        images=images,
        clean_accuracy=Share.of(sum(c.clean == label for c, label in zip(found, labels, strict=True)), images),
        noisy_sample_accuracy=sum(e[label] for e, label in zip(estimations, labels, strict=True)) / (images * params.n),
        abstained=Share.of(sum(isinstance(outcome, Abstention) for outcome in outcomes), images),
        certified_accuracy={f"{r:g}": Share.of(round(certified_accuracy(pairs, r) * images), images) for r in RADII},
    )


def as_markdown(results: Sequence[MethodResult]) -> str:
    """One row a method and sigma, in percent; the columns are radii that any method reaches."""
    reached = [r for r in RADII if r == 0 or any(result.certified_accuracy[f"{r:g}"].value for result in results)]
    head = [
        "σ",
        "method",
        "scope",
        "clean",
        "noisy samples",
        "abstained",
        *(f"R ≥ {r:g}" if r else "certified" for r in reached),
    ]
    rows = [
        [
            f"{result.sigma:g}",
            result.method,
            result.scope,
            _percent(result.clean_accuracy.value),
            _percent(result.noisy_sample_accuracy),
            _percent(result.abstained.value),
            *(_percent(result.certified_accuracy[f"{r:g}"].value) for r in reached),
        ]
        for result in results
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _estimation(counts: MethodCounts, *, check: bool) -> Counts:
    if not check:
        return counts.estimation
    if counts.check is None:
        raise ValueError("this image has no check")
    return counts.check


def label_counts(counts: Counts) -> LabelCounts:
    """The counts of a journal as the decision takes them."""
    return LabelCounts(per_class=counts[:-1], invalid=counts[-1])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
