"""The counters of the installation, which lie in Redis, as Prometheus metrics."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from certrad.workers.contract.drift import Tally, tallies
from certrad.workers.contract.totals import COUNTERS, DISTRIBUTIONS, RADII, Observations, Totals

_SERIES: Final = ["task", "modality", "scanner_model"]


def of_totals(totals: Totals) -> Iterator[Metric]:
    """Yields the counters, the histograms and the counts by series of images.

    Args:
        totals: The counters at this moment.
    """
    for counter in COUNTERS:
        counted = CounterMetricFamily(f"certrad_{counter.name}", counter.words, labels=list(counter.labels))
        for labels, value in sorted(totals.counter(counter).items()):
            counted.add_metric(list(labels), value)
        yield counted
    for distribution in DISTRIBUTIONS:
        histogram = HistogramMetricFamily(
            f"certrad_{distribution.name}", distribution.words, labels=list(distribution.labels)
        )
        for labels, observations in sorted(totals.distribution(distribution).items()):
            _add(histogram, list(labels), observations, distribution.bounds)
        yield histogram
    yield from _drift(totals)


def _drift(totals: Totals) -> Iterator[Metric]:
    certificates = CounterMetricFamily(
        "certrad_drift_certificates",
        "Certificates, abstentions included, by task and by the labels of the image that the operator keeps",
        labels=[*_SERIES, "outcome"],
    )
    radii = HistogramMetricFamily(
        "certrad_certified_radius", "Certified L2 radii of classes, on what noise was added to", labels=_SERIES
    )
    for series, tally in tallies(totals.drift).items():
        labels = [series.task, series.modality, series.scanner_model]
        for outcome, number in _outcomes(tally).items():
            certificates.add_metric([*labels, outcome], number)
        _add(radii, labels, tally.radii, RADII)
    yield certificates
    yield radii


def _outcomes(tally: Tally) -> dict[str, int]:
    counted = {"certified": tally.radii.count, "abstained": tally.abstentions}
    return counted | ({"rejected": tally.rejections} if tally.rejections else {})


def _add(
    histogram: HistogramMetricFamily, labels: list[str], observations: Observations, bounds: tuple[float, ...]
) -> None:
    below, buckets = 0, []
    for bound, number in zip((*map(floatToGoString, bounds), "+Inf"), observations.buckets, strict=True):
        below += number
        buckets.append((bound, below))
    histogram.add_metric(labels, buckets=buckets, sum_value=observations.total)
