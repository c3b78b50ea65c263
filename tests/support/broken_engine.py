"""`python -m tests.support.broken_engine NAME CHANNEL_FD PARENT_PID`: an engine whose integers are wrong."""

import torch

from certrad.models.selftest import checks
from certrad.workers.engine import process


def _zeros(*_: object) -> tuple[torch.Tensor, ...]:
    return (torch.zeros(1, dtype=torch.int64),) * 4


checks.philox4x32 = _zeros  # type: ignore[attr-defined, assignment]
process.main()
