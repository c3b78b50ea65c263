"""Content negotiation: which of the representations of an address an `Accept` header prefers (RFC 9110, 12.5.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from certrad.models.errors import Rejected

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # RFC 9110's name of a word
_RANGE: Final = re.compile(rf"\s*(?P<type>{_TOKEN})/(?P<subtype>{_TOKEN})\s*")
_PARAMETER: Final = re.compile(rf';\s*(?P<name>{_TOKEN})\s*=\s*(?P<value>{_TOKEN}|"(?:[^"\\]|\\.)*")\s*')
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_PIECES: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_MAX_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class _Range:
    """One media range of an `Accept` header; `*` stands for any type or subtype."""

    type: str
    subtype: str
    weight: float

    def specificity(self, media_type: str) -> int:
        """Returns how closely the range names a media type: 0 not at all, 3 exactly."""
        kind, _, subtype = media_type.partition("/")
        match (self.type, self.subtype):
            case (own, name) if (own, name) == (kind, subtype):
                return 3
            case (own, "*") if own == kind:
                return 2
            case ("*", "*"):
                return 1
            case _:
                return 0


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Returns the media type that a client prefers; of several equal ones the first that is offered.

    Parameters of media types, such as `transfer-syntax`, are not compared. What is no media range is passed over.

    Args:
        accept: The `Accept` header; None or empty for anything.
        offered: The media types, in the order in which the service prefers them.

    Raises:
        Rejected: not_acceptable.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = _ranges(accept[:_MAX_HEADER])
    weights = [_weight(media_type, ranges) for media_type in offered]
    best = max(weights)
    if best <= 0:
        raise Rejected("not_acceptable", f"`Accept` must name one of {', '.join(offered)}")
    return offered[weights.index(best)]


def _weight(media_type: str, ranges: Sequence[_Range]) -> float:
    """Returns the weight of a media type: that of the range that names it most closely."""
    named = [(each.specificity(media_type), each.weight) for each in ranges if each.specificity(media_type)]
    return max(named)[1] if named else 0.0


def _ranges(accept: str) -> list[_Range]:
    return [read for piece in _PIECES.findall(accept) if (read := _range(piece)) is not None]


def _range(piece: str) -> _Range | None:
    """Returns one media range; None for text that is none."""
    if (head := _RANGE.match(piece)) is None:
        return None
    weight, end = 1.0, head.end()
    while (parameter := _PARAMETER.match(piece, end)) is not None:
        end = parameter.end()
        if parameter["name"].lower() == "q":
            if not _WEIGHT.fullmatch(parameter["value"]):
                return None
            weight = float(parameter["value"])
    if piece[end:].strip():
        return None
    return _Range(head["type"].lower(), head["subtype"].lower(), weight)
