"""All stable error codes of the project, each with its meaning."""

from typing import Final

from certrad.models.problems.image import IMAGE_PROBLEMS
from certrad.models.problems.problem import Problem
from certrad.models.problems.request import REQUEST_PROBLEMS
from certrad.models.problems.service import SERVICE_PROBLEMS

__all__ = ["PROBLEMS", "Problem", "Rejected"]

PROBLEMS: Final[dict[str, Problem]] = REQUEST_PROBLEMS | IMAGE_PROBLEMS | SERVICE_PROBLEMS


class Rejected(Exception):
    """An expected refusal with a stable code.

    Attributes:
        code: One of `PROBLEMS`.
        detail: A sentence: what was wrong, what was expected, what came; never patient data.
    """

    def __init__(self, code: str, detail: str) -> None:
        if code not in PROBLEMS:
            raise KeyError(f"code must be one of PROBLEMS, got {code!r}")
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
