"""The results of an executor for the report: cells, each a measured number or the reason why there is none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from certrad.bench.reproduce.run.materials import Missing
from certrad.models.errors import Rejected
from certrad.models.smoothing.accuracy import Share
from certrad.models.types import Scope

NOT_KNOWN: Final = "non-adaptive"
"""The condition under which the papers attacked: what was attacked did not know the learned prompt or the defence."""
KNOWN: Final = "adaptive"
BEST_SIGMA: Final = "best σ"
"""The papers' rule: for each radius the sigma with the highest certified accuracy on the test images themselves."""
SIGMA: Final = "σ = "
"""Prefix of the condition of one sigma."""
AS_PUBLISHED: Final = frozenset({"", NOT_KNOWN, BEST_SIGMA})
"""Conditions under which a cell stands beside a printed value."""

LABELS: Final = {
    "zero_shot_no_pl": "template",
    "coop_naive_pl": "CoOp",
    "denoised_smoothing": "Denoised Smoothing",
    "diffusion_smoothing": "Diffusion Smoothing",
    "zero_shot_promptsmooth": "Zero-Shot PromptSmooth",
    "few_shot_promptsmooth": "Few-Shot PromptSmooth",
    "promptsmooth": "PromptSmooth (combined)",
    "adapted_encoder": "template, adapted encoder",
    "vanilla": "template",
    "advpt": "AdvPT",
    "coop": "CoOp",
    "linear_probe": "linear probe",
    "super_resolution": "super-resolution",
    "diffpure": "DiffPure",
}
"""A row as the printed tables name it -> as text has it."""


class Place(NamedTuple):
    """Where a cell stands, and the printed value as well."""

    backbone: str
    dataset: str
    row: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of a table.

    condition: what else it was measured under; only those `AS_PUBLISHED` have a printed counterpart.
    value: percent, seconds or a distance; None where `needs` names what is missing, and `detail` what to do about it.
    hits: for a share of images, whether each image counts, in an order that all rows of a pair share.
    detail: what belongs to the number: the sigma, a word, the kind of attack.
    digest: SHA-256 over the pixels of the images it was measured on. scope: of a radius, what its claim covers.
    """

    place: Place
    condition: str = ""
    value: float | None
    hits: tuple[bool, ...] = ()
    detail: str = ""
    needs: str = ""
    digest: str = ""
    scope: Scope | None = None

    @property
    def share(self) -> Share | None:
        """The share of images with its exact 95% interval; None for another kind of number."""
        return Share.of(sum(self.hits), len(self.hits)) if self.hits else None


def share_cell(
    place: Place,
    hits: Sequence[bool],
    *,
    digest: str,
    condition: str = "",
    detail: str = "",
    scope: Scope | None = None,
) -> Cell:
    """The cell of a share of images, in percent."""
    value = 100 * sum(hits) / len(hits)
    return Cell(
        place=place, condition=condition, value=value, hits=tuple(hits), detail=detail, digest=digest, scope=scope
    )


def missing_cells(places: Iterable[Place], rejected: Rejected, *, condition: str = "") -> list[Cell]:
    """The cells of what could not be run, and what is to be done about it in one line."""
    told = " ".join(rejected.detail.split())
    return [
        Cell(place=place, condition=condition, value=None, needs=_needs(place, rejected), detail=told)
        for place in places
    ]


def label(row: str) -> str:
    """A row as text has it, behind a defence as well."""
    return " + ".join(LABELS.get(part, part) for part in row.split(" + "))


def _needs(place: Place, rejected: Rejected) -> str:
    if isinstance(rejected, Missing):
        return rejected.needs
    named = {
        "dataset_unavailable": f"data set {place.dataset}",
        "model_unavailable": "weights of a defence, denoiser or surrogate",
    }
    return named.get(rejected.code, rejected.code)
