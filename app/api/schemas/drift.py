"""The answer to GET /drift."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from pydantic import BaseModel, Field

from certrad.workers.contract.drift import Series, Tally
from certrad.workers.contract.totals import RADII

_DIGITS: Final = 4


class RadiusDistribution(BaseModel):
    """The certified radii of some certificates; quantiles are read from the buckets of a histogram."""

    mean: float
    p10: float
    p50: float
    p90: float


class DriftRow(BaseModel):
    """The certificates of one day and one kind of image."""

    day: date
    task: str = Field(description="id of the task; `none` for classes of the request's own", examples=["mednist"])
    modality: str = Field(description="`none` where it is not kept", examples=["CT"])
    scanner_model: str = Field(description="`none` where it is not kept; `other` for one that is not listed")
    certificates: int = Field(description="certificates, abstentions included")
    abstentions: int
    rejections: int = Field(description="certificates of the extra class of a bank, which names no class")
    radius: RadiusDistribution | None = Field(description="of those that name a class; null where there is none")


class Drift(BaseModel):
    """The tenant's certificates by day, task, modality and scanner model, oldest day first."""

    kept_days: int = Field(description="days that counts are kept")
    rows: list[DriftRow]


def drift_view(kept_days: int, days: Mapping[date, Mapping[Series, Tally]]) -> Drift:
    """Returns the counts of some days as the interface shows them.

    Args:
        kept_days: Days that counts are kept.
        days: Day -> series -> its tally.
    """
    return Drift(
        kept_days=kept_days,
        rows=[_row(day, series, tally) for day, of_day in sorted(days.items()) for series, tally in of_day.items()],
    )


def _row(day: date, series: Series, tally: Tally) -> DriftRow:
    return DriftRow(
        day=day,
        task=series.task,
        modality=series.modality,
        scanner_model=series.scanner_model,
        certificates=tally.certificates,
        abstentions=tally.abstentions,
        rejections=tally.rejections,
        radius=_radius(tally),
    )


def _radius(tally: Tally) -> RadiusDistribution | None:
    radii = tally.radii
    if not radii.count:
        return None

    def quantile(share: float) -> float:
        return round(radii.quantile(share, RADII) or 0.0, _DIGITS)

    return RadiusDistribution(
        mean=round(radii.total / radii.count, _DIGITS), p10=quantile(0.1), p50=quantile(0.5), p90=quantile(0.9)
    )
