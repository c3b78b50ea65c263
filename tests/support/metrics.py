"""The metrics that the API exports, as the documentation lists them."""

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def exported(metrics: CollectorRegistry) -> list[Metric]:
    """Every metric of a scrape, by name."""
    return sorted(metrics.collect(), key=lambda metric: metric.name)


def sample_names(metrics: CollectorRegistry) -> set[str]:
    """The names that a query can use."""
    return {f"{metric.name}{suffix}" for metric in exported(metrics) for suffix in _SUFFIXES[metric.type]}


def table(metrics: CollectorRegistry) -> str:
    """The table of docs/monitoring.md: name, type, labels and meaning of each metric."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{_shown(metric)}` | {metric.type} | {', '.join(f'`{label}`' for label in _labels(metric))} "
        f"| {metric.documentation} |"
        for metric in exported(metrics)
    ]
    return "\n".join(rows)


def _shown(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(metric: Metric) -> list[str]:
    declared = getattr(metric, "_labelnames", None)
    found = {label for sample in metric.samples for label in sample.labels} - {"le"}
    return sorted(found if declared is None else declared)
