"""The report of a self-test: what was checked on one machine, with the facts of that machine."""

from dataclasses import dataclass, field
from typing import Final, Literal

CheckName = Literal[
    "weights",
    "noise_words",
    "normals",
    "features",
    "counts",
    "decoder",
    "signing",
    "redis",
]

CHECKS: Final[dict[CheckName, str]] = {
    "weights": "the weights of the demonstration model load and have the digest of their card",
    "noise_words": "the random words of both noise laws equal the stored ones, bit for bit",
    "normals": "the normals of both noise laws agree with the stored ones, and give noisy pixels within one grid step",
    "features": "features of stored images and of the class texts have a cosine of at least 0.999 with the stored ones",
    "counts": "the label counts of the shipped image under fresh noise lie within the binomial band of the stored ones",
    "decoder": "the decoder in its sandbox makes the stored model input of the shipped DICOM file",
    "signing": "a probe signed with the key of this installation verifies, and a changed one is refused",
    "redis": "what is written to Redis is read back and deleted",
}
"""Every check of a self-test, with its promise."""

REPORT_SCHEMA: Final = "certrad.selftest/1"
SAMPLES: Final = 2048
"""Samples of the label counts of a report that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestCheck:
    """One check: whether it passed, what was found, and the seconds it took."""

    name: CheckName
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedCheck:
    """One check that was not made here, and the reason."""

    name: CheckName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestReport:
    """The outcome of a self-test.

    Attributes:
        made_at: Seconds since 1970.
        checks: The checks that were made.
        skipped: The checks that were not made.
        facts: Versions, device, driver, digests; nothing about a patient, and no secret.
    """

    made_at: float
    checks: tuple[SelfTestCheck, ...]
    skipped: tuple[SkippedCheck, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Returns whether every check that was made passed."""
        return all(check.ok for check in self.checks)

    @property
    def failed_checks(self) -> tuple[CheckName, ...]:
        """Returns the names of the checks that failed."""
        return tuple(check.name for check in self.checks if not check.ok)

    @property
    def seconds(self) -> float:
        """Returns the seconds that the checks took together."""
        return sum(check.seconds for check in self.checks)
