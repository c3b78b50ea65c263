"""The verdict of an audit on one mode, and the table of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy import stats

from certrad.models.audit.contradictions import Finding
from certrad.models.audit.modes import ModeSpec
from certrad.models.types import FixedSigma, Scope

SOUND: Final = 0.001
"""A p-value below this says that certificates of a mode do not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of an audit for one mode.

    Attributes:
        mode: name of the mode.
        scope: the scope that its certificates claim.
        planted: unsound on purpose.
        sigma: standard deviation of the noise; None if each certificate has its own, chosen automatically.
        images: number of images.
        certified: images with a certificate.
        attacked: certified images with another image of the grid within reach.
        targets: classes towards which each of these was attacked.
        contradictions: images with a contradiction.
        p_value: see `p_value`. For a planted or `frozen_prompt` mode, it tests a claim that the mode does not make.
        mean_radius: mean over the certified images, in pixels of [0, 1]; None without any.
    """

    mode: str
    scope: Scope
    planted: bool
    sigma: float | None
    images: int
    certified: int
    attacked: int
    targets: int
    contradictions: int
    p_value: float
    mean_radius: float | None

    @property
    def broken(self) -> bool:
        """Returns whether the audit showed that a claim of the mode is false."""
        return self.scope == "input_independent" and not self.planted and self.p_value < SOUND


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """Returns a table with one row per mode: its claim, the attacks on it, and its contradictions."""
    head = ["σ", "mode", "scope", "images", "certified", "mean R", "attacked", "targets", "contradictions", "p-value"]
    rows = [
        [
            "auto" if verdict.sigma is None else f"{verdict.sigma:g}",
            verdict.mode,
            "none: unsound on purpose" if verdict.planted else verdict.scope,
            str(verdict.images),
            str(verdict.certified),
            "–" if verdict.mean_radius is None else f"{verdict.mean_radius:.3f}",
            str(verdict.attacked),
            str(verdict.targets),
            str(verdict.contradictions),
            f"{verdict.p_value:.2g}",
        ]
        for verdict in verdicts
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]) + "\n"


def summarise(spec: ModeSpec, findings: Sequence[Finding], targets: int) -> Verdict:
    """Returns the verdict on one mode from its finding for each image.

    Args:
        spec: the mode.
        findings: its finding for each image.
        targets: see `Audit`.
    """
    targets = min(targets, len(spec.classifier.class_names) - 1)
    radii = [finding.clean.radius for finding in findings if finding.clean.class_index is not None]
    contradictions = sum(finding.contradiction for finding in findings)
    return Verdict(
        mode=spec.name,
        scope=spec.classifier.scope,
        planted=spec.planted,
        sigma=spec.sigma.sigma if isinstance(spec.sigma, FixedSigma) else None,
        images=len(findings),
        certified=len(radii),
        attacked=sum(bool(finding.attacked) for finding in findings),
        targets=targets,
        contradictions=contradictions,
        p_value=p_value(contradictions, len(findings), spec.params.alpha, attacks=targets),
        mean_radius=sum(radii) / len(radii) if radii else None,
    )


def p_value(contradictions: int, images: int, alpha: float, attacks: int) -> float:
    """Returns P(Bin(images, (1 + attacks) alpha) >= contradictions): how likely so many are if the certificates hold.

    Each image is certified 1 + `attacks` times, and each certificate is false with probability at most alpha, given
    everything before it: an attacked image is chosen without its noise, whose key depends on a hash of that image. A
    contradiction needs a false certificate, so it happens to one image with probability at most (1 + attacks) alpha,
    whatever happened to the images before it (docs/mathematics.md, 3.3). Images that abstain count too: among certified
    ones alone the share of false certificates has no bound.
    """
    return float(stats.binom.sf(contradictions - 1, images, min(1.0, (1 + attacks) * alpha)))
