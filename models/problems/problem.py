"""The meaning of one error code, as a type."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The meaning of one error code.

    Attributes:
        title: Title of the problem.
        raised_if: When it is raised.
    """

    title: str
    raised_if: str
