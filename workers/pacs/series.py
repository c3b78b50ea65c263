"""What the headers of a series say: what rules look at, which instances are ours, and in which order they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from certrad.workers.contract.rules import Choice, Header
from certrad.workers.contract.triggers import is_uid
from certrad.workers.pacs.dicomweb import Attributes, text

NEVER_INPUT: Final = frozenset(
    {"SR", "SEG", "PR", "KO", "DOC", "PLAN", "REG", "FID", "RWV", "AU", "ECG", "EPS", "HD", "RESP", "M3D", "STAIN"}
    | {"ANN", "RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT"}
)
"""Modalities that hold no image to classify, our own structured reports among them."""
OWN_MANUFACTURER: Final = "certrad"
_MODALITY, _MANUFACTURER, _STATION = "00080060", "00080070", "00081010"
_DESCRIPTION, _BODY_PART, _SOP, _NUMBER = "0008103E", "00180015", "00080018", "00200013"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series as the connector sees it: what rules look at, and the UIDs of its instances in their order."""

    header: Header
    instances: Sequence[str]


def read_series(metadata: Sequence[Attributes], is_own: Callable[[str], bool]) -> Series:
    """Returns the series without the instances that were made here.

    Args:
        metadata: The headers of its instances.
        is_own: Says whether the outbox holds or held an instance.
    """
    found: list[tuple[float, str, Attributes]] = []
    for item in metadata:
        sop = text(item, _SOP)
        if is_uid(sop) and text(item, _MANUFACTURER).strip().lower() != OWN_MANUFACTURER and not is_own(sop):
            found.append((_number(item), sop, item))
    found.sort(key=lambda entry: entry[:2])
    first: Attributes = found[0][2] if found else (metadata[0] if metadata else {})
    header = Header(
        modality=text(first, _MODALITY).strip(),
        body_part=text(first, _BODY_PART).strip(),
        station=text(first, _STATION).strip(),
        series_description=text(first, _DESCRIPTION).strip(),
    )
    return Series(header=header, instances=list(dict.fromkeys(sop for _, sop, _ in found)))


def choose(instances: Sequence[str], handled: Sequence[str], how: Choice, most: int) -> list[str]:
    """Returns the instances to certify now.

    `first` and `middle` choose once: a late image does not change what they chose. `all` takes late images too.

    Args:
        instances: The instances of the series, in order.
        handled: Those that were chosen before.
        how: Which ones.
        most: How many of the series at most, with those chosen before.
    """
    if how == "all":
        done = set(handled)
        return [sop for sop in instances if sop not in done][: max(0, most - len(done))]
    if handled:
        return []
    start = max(0, (len(instances) - most) // 2) if how == "middle" else 0
    return list(instances[start : start + most])


def _number(item: Attributes) -> float:
    try:
        return float(text(item, _NUMBER))
    except ValueError:
        return float("inf")
