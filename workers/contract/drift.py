"""Abstentions and radii by task, modality and scanner model, day by day: what drift of a site's images shows in.

The labels travel in a job's record, outside its request and its certificate. They are kept only where the operator
allows it (`CERTRAD_DRIFT_LABELS`), and no free text of a file is ever one.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, cast

from redis import Redis

from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.workers.contract.drift_labels import NO_LABEL, OTHER
from certrad.workers.contract.names import drift_key
from certrad.workers.contract.totals import RADII, Observations

KEPT_DAYS: Final = 400
DAY_SECONDS: Final = 86_400
MOST_SERIES: Final = 50
"""Series of a day: beyond them a new combination of labels counts as `other`."""

_ABSTENTIONS, _REJECTIONS, _SUM = "abstentions", "rejections", "sum"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Series:
    """The certificates that are counted together.

    Attributes:
        task: Id of the task; `none` for classes of the request's own.
        modality: Modality of the image; `none` where it is unknown or not kept.
        scanner_model: Model of the scanner; `none` where it is unknown or not kept, `other` for one that is not listed.
    """

    task: str
    modality: str = NO_LABEL
    scanner_model: str = NO_LABEL

    def to_json(self) -> str:
        """Returns the name of the series in Redis."""
        return json.dumps([self.task, self.modality, self.scanner_model])

    @classmethod
    def from_json(cls, text: str) -> "Series":
        """Returns the series of a name."""
        task, modality, scanner_model = json.loads(text)
        return cls(task=task, modality=modality, scanner_model=scanner_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The certificates of one series.

    Attributes:
        radii: The certified radii of known classes, by the buckets of `RADII`.
        abstentions: The number of abstentions.
        rejections: The number of certificates of the extra class of a bank.
    """

    radii: Observations
    abstentions: int
    rejections: int = 0

    @property
    def certificates(self) -> int:
        """Returns the number of certificates, abstentions included."""
        return self.radii.count + self.abstentions + self.rejections


OTHER_SERIES: Final = Series(task=OTHER, modality=OTHER, scanner_model=OTHER)


def increments(result: CertifiedResult | AbstainedResult) -> dict[str, str]:
    """Returns what a certificate adds to its series."""
    if isinstance(result, AbstainedResult):
        return {_ABSTENTIONS: "1"}
    if result.unlike:
        return {_REJECTIONS: "1"}
    return {str(bisect_left(RADII, result.radius)): "1", _SUM: f"{result.radius:.6f}"}


def day_of(seconds: float) -> date:
    """Returns the day, in UTC, of a number of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).date()


def read_days(redis: Redis, tenant: str, *, last: date, days: int) -> dict[date, dict[Series, Tally]]:
    """Returns the tallies of a tenant by day, without days on which there was none.

    Args:
        redis: The job store.
        tenant: The tenant.
        last: The last day.
        days: The number of days.
    """
    wanted = [last - timedelta(days=before) for before in reversed(range(days))]
    with redis.pipeline(transaction=False) as pipe:
        for day in wanted:
            pipe.hgetall(drift_key(tenant, day.isoformat()))
        stored = cast("list[dict[bytes, bytes]]", pipe.execute())
    return {day: tallies(fields) for day, fields in zip(wanted, stored, strict=True) if fields}


def tallies(stored: Mapping[bytes, bytes]) -> dict[Series, Tally]:
    """Returns the tally of each series in a hash.

    Args:
        stored: The fields of the hash: `SERIES<newline>WHAT` -> number, and the number of series.
    """
    values: dict[str, dict[str, float]] = {}
    for name, value in stored.items():
        series, separator, what = name.decode().partition("\n")
        if separator:
            values.setdefault(series, {})[what] = float(value)
    return {Series.from_json(series): _tally(of_series) for series, of_series in sorted(values.items())}


def _tally(values: Mapping[str, float]) -> Tally:
    buckets = tuple(int(values.get(str(bucket), 0)) for bucket in range(len(RADII) + 1))
    return Tally(
        radii=Observations(buckets=buckets, total=values.get(_SUM, 0.0)),
        abstentions=int(values.get(_ABSTENTIONS, 0)),
        rejections=int(values.get(_REJECTIONS, 0)),
    )
