"""Coded concepts, as DICOM and FHIR name classes, measurements and reasons."""

from dataclasses import dataclass
from typing import Final

_MAX_VALUE: Final = 16  # of CodeValue; a longer one must be written as LongCodeValue, which many readers miss
_MAX_SCHEME: Final = 16
_MAX_MEANING: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One coded concept.

    Attributes:
        value: Its value, 1 to 16 characters.
        scheme: Designator of its coding scheme in DICOM, 1 to 16 characters: 99CERTRAD, SCT, DCM or UCUM, say.
        meaning: Its meaning in English, 1 to 64 characters.
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        limits = (("value", _MAX_VALUE), ("scheme", _MAX_SCHEME), ("meaning", _MAX_MEANING))
        for name, longest in limits:
            text = getattr(self, name)
            if not 1 <= len(text) <= longest or not text.isprintable() or "\\" in text or text != text.strip():
                raise ValueError(
                    f"the {name} of a code must have 1 to {longest} printable characters, no backslash and no space "
                    f"at its ends, got {text!r:.80}"
                )
