"""What a verification found: the checks that were made, and those that were not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: Its name.
        ok: Whether it holds.
        detail: What was found, or why it is refused.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """One thing that was not checked.

    Attributes:
        name: The name of the check.
        reason: What it would have taken.
    """

    name: str
    reason: str
