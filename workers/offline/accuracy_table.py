"""The table of `certrad evaluate`: certified accuracy by radius, and what was not certified."""

from collections.abc import Mapping
from typing import Any

from certrad.models.smoothing.accuracy import Share
from certrad.models.types.rejection import UNLIKE


def accuracy_table(found: Mapping[str, Any], *, with_extra_class: bool) -> list[str]:
    """Returns the lines of a table in Markdown.

    Args:
        found: The summary of an evaluation.
        with_extra_class: Whether the classifier has the class of images unlike those it was tuned on.
    """
    reached = {r: share for r, share in found["certified_accuracy"].items() if share.value or r == "0"}
    columns = {"certified" if radius == "0" else f"R ≥ {radius}": share for radius, share in reached.items()}
    rest = {"abstained": found["abstained"], **({UNLIKE: found["rejected"]} if with_extra_class else {})}
    rows = [f"| {name} | {_percent(share)} |" for name, share in {**columns, **rest}.items()]
    return ["| certified accuracy | % |", "| --- | --- |", *rows]


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} ({100 * share.low:.1f}–{100 * share.high:.1f})"
