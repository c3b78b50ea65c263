"""The coded concepts of reports: the private scheme 99CERTRAD, and the standard codes that reports use beside it."""

from dataclasses import dataclass
from typing import Final

SCHEME: Final = "99CERTRAD"
SCHEME_UID: Final = "2.25.298579937226955216377629950047517672000"
SCHEME_VERSION: Final = "1"
SCHEME_URL: Final = f"urn:oid:{SCHEME_UID}"
_MAX_VALUE: Final = 16  # of CodeValue; a longer one must be written as LongCodeValue, which many readers miss
_MAX_MEANING: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One coded concept.

    Attributes:
        value: Its value, 1 to 16 characters.
        scheme: Designator of its coding scheme in DICOM: 99CERTRAD, SCT, DCM or UCUM, say.
        meaning: Its meaning in English, 1 to 64 characters.
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        if not (1 <= len(self.value) <= _MAX_VALUE and 1 <= len(self.meaning) <= _MAX_MEANING):
            raise ValueError("a code must have a value of 1 to 16 and a meaning of 1 to 64 characters")


def private_code(value: str, meaning: str) -> Code:
    """Returns a concept of the scheme 99CERTRAD."""
    return Code(value=value, scheme=SCHEME, meaning=meaning)
