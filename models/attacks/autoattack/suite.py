"""AutoAttack (Croce & Hein 2020, ICML): four attacks in turn, each on the images that none before it fooled.

Written by hand, see docs/adr: no library has all four parts for any number of classes, with seeds of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from certrad.models.attacks.autoattack.apgd import apgd
from certrad.models.attacks.autoattack.fab import fab
from certrad.models.attacks.autoattack.square import square
from certrad.models.attacks.base import Attack, Classify
from certrad.models.attacks.losses import (
    Loss,
    Slope,
    cross_entropy,
    dlr,
    margin,
    mean_gradient,
    mean_margin,
    targeted_dlr,
    towards,
)
from certrad.models.randomness import ImageDraws

Part = Literal["apgd-ce", "apgd-dlr", "apgd-margin", "apgd-t", "fab-t", "square"]

_CLASSES_NEEDED: Final[dict[Part, int]] = {"apgd-dlr": 3, "apgd-t": 4}
_UNTARGETED: Final[dict[Part, Loss]] = {"apgd-ce": cross_entropy, "apgd-dlr": dlr, "apgd-margin": margin}


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoAttackParams:
    """Settings of AutoAttack; the defaults are the published ones.

    Attributes:
        epsilon: half the side of the L-infinity ball, in pixels of [0, 1].
        version: `standard`, or `rand` for randomised defences, whose gradients are averaged.
        iterations: steps of every APGD and FAB.
        queries: queries of Square for each image.
        targets: number of classes that targeted parts aim at, at most K - 1.
        parts: the parts to run, in order; None for all of the version, see `parts_for`.
        eot_draws: draws of the defence averaged for each gradient and each query; None for 1, or 20 with `rand`.
        evaluations: draws over which a candidate must be misclassified on average to count; None for 1, or 10 with
            `rand`.
    """

    epsilon: float = 16 / 255
    version: Literal["standard", "rand"] = "standard"
    iterations: int = 100
    queries: int = 5000
    targets: int = 9
    parts: tuple[Part, ...] | None = None
    eot_draws: int | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:  # also refuses NaN
            raise ValueError(f"epsilon must be in (0, 1], got {self.epsilon!r}")
        if self.version not in ("standard", "rand"):
            raise ValueError(f"version must be 'standard' or 'rand', got {self.version!r}")
        if min(self.iterations, self.queries, self.targets, self.gradient_draws, self.candidate_draws) < 1:
            raise ValueError("iterations, queries, targets, eot_draws and evaluations must be >= 1")
        if self.parts is not None and not self.parts:
            raise ValueError("parts must name at least one part; got none")

    @property
    def gradient_draws(self) -> int:
        """Draws of the defence behind each gradient."""
        return self.eot_draws if self.eot_draws is not None else {"standard": 1, "rand": 20}[self.version]

    @property
    def candidate_draws(self) -> int:
        """Draws of the defence that decide whether a candidate fools it."""
        return self.evaluations if self.evaluations is not None else {"standard": 1, "rand": 10}[self.version]

    def parts_for(self, n_classes: int) -> tuple[Part, ...]:
        """Returns the parts to run against K classes.

        The targeted ratio of logits needs K >= 4 and the untargeted one K >= 3; with fewer classes the margin replaces
        them.

        Raises:
            ValueError: for K < 2, or a part that K classes cannot have.
        """
        if n_classes < 2:
            raise ValueError(f"AutoAttack needs at least 2 classes; got {n_classes}")
        for part in self.parts or ():
            if n_classes < _CLASSES_NEEDED.get(part, 2):
                raise ValueError(f"{part} needs {_CLASSES_NEEDED[part]} classes, got {n_classes}")
        if self.parts is not None:
            return self.parts
        if self.version == "rand":
            return ("apgd-ce", "apgd-dlr" if n_classes >= _CLASSES_NEEDED["apgd-dlr"] else "apgd-margin")
        return ("apgd-ce", "apgd-t" if n_classes >= _CLASSES_NEEDED["apgd-t"] else "apgd-margin", "fab-t", "square")

    def targets_for(self, n_classes: int) -> int:
        """Returns the number of classes that the targeted parts aim at."""
        return min(self.targets, n_classes - 1)

    def name(self, n_classes: int) -> str:
        """Returns the name of this run for tables: `AutoAttack` if nothing is reduced, else `reduced AutoAttack`."""
        whole = AutoAttackParams(version=self.version)
        parts = self.parts_for(n_classes)
        reduced = (
            not set(parts) >= set(whole.parts_for(n_classes))
            or self.iterations < whole.iterations
            or ("square" in parts and self.queries < whole.queries)
            or self.targets_for(n_classes) < whole.targets_for(n_classes)
            or self.gradient_draws < whole.gradient_draws
            or self.candidate_draws < whole.candidate_draws
        )
        version = "AutoAttack rand" if self.version == "rand" else "AutoAttack"
        if not reduced:
            return f"{version} ({', '.join(parts)})"
        facts = [f"{self.iterations} iterations", f"{self.targets_for(n_classes)} targets"]
        facts += [f"{self.queries} queries"] if "square" in parts else []
        facts += [f"{self.gradient_draws} draws"] if self.version == "rand" else []
        return f"reduced {version} ({', '.join(parts)}; {', '.join(facts)})"


def auto_attack(classify: Classify, n_classes: int, params: AutoAttackParams) -> Attack:
    """Returns the attack that tries `params.parts_for(n_classes)` in turn on what `classify` still gets right.

    The attack returns an image that is misclassified from the start unchanged, and for one that no part fools the
    candidate of the largest margin.

    Args:
        classify: the classifier, with any defence in front of it.
        n_classes: K.
        params: settings of the attack.

    Raises:
        ValueError: for a part that so few classes cannot have.
    """
    parts = params.parts_for(n_classes)

    def attack(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        images, labels = images.detach().float(), labels.to(images.device)
        draws = ImageDraws.seeded(images, generator)
        ranked = _ranked_targets(classify, images, labels, params.candidate_draws, generator)

        def margins(pixels: Tensor, of: Tensor) -> Tensor:
            return mean_margin(classify, pixels, labels[of], draws=params.candidate_draws, generator=generator)

        best = images.clone()
        best_margin = margins(best, torch.arange(len(images), device=images.device))
        for part, rank in _runs(parts, params.targets_for(n_classes)):
            remaining = (~(best_margin > 0)).nonzero().flatten()
            if not len(remaining):
                break
            on = _Images(images[remaining], labels[remaining], ranked[remaining, rank], draws.of(remaining))
            candidates = _run(part, classify, on, params, generator)
            candidate_margin = margins(candidates, remaining)
            better = candidate_margin > best_margin[remaining]
            best[remaining[better]] = candidates[better]
            best_margin[remaining[better]] = candidate_margin[better]
        return best

    return attack


@dataclass(frozen=True, slots=True)
class _Images:
    """Images that are still classified correctly: pixels (b, 3, S, S), labels, targets (b,), and their draws."""

    pixels: Tensor
    labels: Tensor
    targets: Tensor
    draws: ImageDraws


def _run(part: Part, classify: Classify, on: _Images, params: AutoAttackParams, generator: torch.Generator) -> Tensor:
    """Returns the candidates of one part against one target."""
    draws = params.gradient_draws

    def slope_of(loss: Loss) -> Callable[[Tensor], Slope]:
        return lambda pixels: mean_gradient(classify, loss, pixels, on.labels, eot_draws=draws, generator=generator)

    def margin_of(pixels: Tensor, of: Tensor) -> Tensor:
        return mean_margin(classify, pixels, on.labels[of], draws=draws, generator=generator)

    epsilon, iterations = params.epsilon, params.iterations
    match part:
        case "square":
            return square(margin_of, on.pixels, epsilon=epsilon, queries=params.queries, draws=on.draws)
        case "fab-t":
            everyone = torch.arange(len(on.pixels), device=on.pixels.device)
            return fab(
                slope_of(towards(on.targets)),
                lambda pixels: margin_of(pixels, everyone),
                on.pixels,
                epsilon=epsilon,
                iterations=iterations,
            )
        case _:
            loss = targeted_dlr(on.targets) if part == "apgd-t" else _UNTARGETED[part]
            return apgd(slope_of(loss), on.pixels, epsilon=epsilon, iterations=iterations, draws=on.draws)


def _runs(parts: tuple[Part, ...], targets: int) -> Iterator[tuple[Part, int]]:
    """Yields each part once, a targeted one once for every rank of target."""
    for part in parts:
        for rank in range(targets if part in ("apgd-t", "fab-t") else 1):
            yield part, rank


def _ranked_targets(
    classify: Classify, images: Tensor, labels: Tensor, draws: int, generator: torch.Generator
) -> Tensor:
    """Returns the wrong classes (B, K - 1) of each image, the most likely one on the clean image first."""
    with torch.no_grad():
        logits = torch.stack([classify(images, generator) for _ in range(draws)]).mean(0).to(images.device)
    wrong = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return wrong.argsort(dim=1, descending=True, stable=True)[:, :-1]
