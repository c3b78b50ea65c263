"""Coverage and size of prediction sets made in three ways from the same counts, with exact binomial intervals."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Final, Literal

from certrad.models.prediction_sets.ranks import clean_level, clean_quantile, rank
from certrad.models.prediction_sets.sets import SetRule, prediction_set
from certrad.models.prediction_sets.thresholds import attacked_shares
from certrad.models.smoothing import clopper_pearson_lower, clopper_pearson_upper
from certrad.models.types import ETA

Method = Literal["vanilla", "union", "count transfer", "count transfer, per class"]
_OUTSIDE: Final = 0.025
"""The share that a two-sided 95% interval leaves out on each side."""
_UNION_SHARE: Final = 20
"""The two confidence levels of the union correction are beta / 20 each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRecord:
    """The counts of one image, clean and altered by each radius; none altered of a calibration image."""

    index: int
    label: int
    clean: tuple[int, ...]
    attacked: tuple[tuple[int, ...], ...]

    def to_json(self) -> str:
        """One line of the journal."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> "SetRecord":
        """The inverse of `to_json`."""
        fields = json.loads(line)
        fields["clean"] = tuple(fields["clean"])
        fields["attacked"] = tuple(tuple(counts) for counts in fields["attacked"])
        return SetRecord(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often the sets of some images hold their class: the interval is exact, at 95%."""

    images: int
    covered: int
    low: float
    high: float
    size: float
    empty: int
    of_class: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """One method at one beta and one radius; coverage of the clean and of the altered images."""

    method: Method
    beta: float
    radius: float
    thresholds: tuple[int, ...]
    clean: Coverage
    attacked: Coverage


def summarise(
    calibration: Sequence[SetRecord],
    test: Sequence[SetRecord],
    n: int,
    sigma: float,
    radii: Sequence[float],
    betas: Sequence[float],
) -> list[SetRow]:
    """Returns a row for every method at each beta and radius."""
    return [
        SetRow(
            method=method,
            beta=beta,
            radius=radius,
            thresholds=thresholds,
            clean=_coverage([each.clean for each in test], test, thresholds),
            attacked=_coverage([each.attacked[place] for each in test], test, thresholds),
        )
        for beta in betas
        for place, radius in enumerate(radii)
        for method, thresholds in _thresholds(calibration, n, sigma, radius, beta)
    ]


def as_markdown(rows: Sequence[SetRow], names: Sequence[str]) -> str:
    """Returns the rows as a table, and the coverage of each class under attack as another."""
    head = ["β", "r", "method", "thresholds", "clean: coverage", "size", "attacked: coverage", "size", "empty"]
    lines = [head, ["---"] * len(head)]
    lines += [
        [
            f"{row.beta:g}",
            f"{row.radius:g}",
            row.method,
            "/".join(map(str, row.thresholds if len(set(row.thresholds)) > 1 else row.thresholds[:1])),
            _share(row.clean),
            f"{row.clean.size:.2f}",
            _share(row.attacked),
            f"{row.attacked.size:.2f}",
            str(row.attacked.empty),
        ]
        for row in rows
    ]
    of_class = [["β", "r", "method", *names], ["---"] * (3 + len(names))]
    of_class += [
        [f"{row.beta:g}", f"{row.radius:g}", row.method, *(f"{share:.3f}" for share in row.attacked.of_class)]
        for row in rows
    ]
    tables = ("\n".join("| " + " | ".join(cells) + " |" for cells in table) for table in (lines, of_class))
    return "\n\n".join(tables) + "\n"


def _share(coverage: Coverage) -> str:
    return f"{coverage.covered / coverage.images:.3f} ({coverage.low:.3f}-{coverage.high:.3f})"


def _thresholds(
    calibration: Sequence[SetRecord], n: int, sigma: float, radius: float, beta: float
) -> Iterator[tuple[Method, tuple[int, ...]]]:
    """Yields the thresholds of each method."""
    n_classes = len(calibration[0].clean)
    counts = [each.clean[each.label] for each in calibration]
    by_class = [[each.clean[k] for each in calibration if each.label == k] for k in range(n_classes)]
    level = clean_level(beta)
    pooled = SetRule(quantiles=(clean_quantile(counts, level),) * n_classes, n=n, sigma=sigma)
    classes = SetRule(quantiles=tuple(clean_quantile(each, level) for each in by_class), n=n, sigma=sigma)
    vanilla = clean_quantile(counts, Fraction(repr(beta)))
    yield "vanilla", (vanilla,) * n_classes
    yield "union", (union_threshold(counts, n, n, radius / sigma, beta),) * n_classes
    yield "count transfer", pooled.thresholds(n, radius)
    yield "count transfer, per class", classes.thresholds(n, radius)


def union_threshold(counts: Sequence[int], n: int, n_test: int, ratio: float, beta: float) -> int:
    """Returns the threshold by one confidence bound for each calibration point, as BinCP corrects for finite samples.

    The l lowest calibration shares get Clopper-Pearson lower bounds at eta / l each, the test image an upper bound at
    eta; a class is in the set if its upper bound reaches the attacked quantile. beta_0 + 2 eta = beta.
    """
    exact = Fraction(repr(beta))
    eta = exact / _UNION_SHARE
    place = rank(len(counts), exact - 2 * eta)
    quantile = clean_quantile(counts, exact - 2 * eta)
    if not quantile:
        return 0
    lower = clopper_pearson_lower(quantile, n, float(eta) / place)
    reach = float(attacked_shares(lower, ratio)) - ETA
    fits = (count for count in range(n_test + 1) if clopper_pearson_upper(count, n_test, float(eta)) >= reach)
    return next(fits)


def _coverage(counts: Sequence[tuple[int, ...]], images: Sequence[SetRecord], thresholds: tuple[int, ...]) -> Coverage:
    sets = [prediction_set(each, thresholds) for each in counts]
    hits = [image.label in found for image, found in zip(images, sets, strict=True)]
    covered, total = sum(hits), len(hits)
    of_class = [
        [hit for hit, image in zip(hits, images, strict=True) if image.label == k] for k in range(len(thresholds))
    ]
    return Coverage(
        images=total,
        covered=covered,
        low=clopper_pearson_lower(covered, total, _OUTSIDE),
        high=clopper_pearson_upper(covered, total, _OUTSIDE),
        size=sum(map(len, sets)) / total,
        empty=sum(not found for found in sets),
        of_class=tuple(sum(each) / len(each) for each in of_class),
    )
