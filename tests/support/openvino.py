"""Which machines compute an image tower by OpenVINO."""

from pathlib import Path
from typing import Final

import pytest

_BFLOAT16: Final = {"avx512_bf16", "amx_bf16"}
requires_openvino = pytest.mark.bfloat16
"""Marks a test that computes an image tower by OpenVINO, which needs a CPU that multiplies bfloat16 in hardware."""


def multiplies_bfloat16() -> bool:
    """Returns whether this CPU multiplies bfloat16; one that does must have OpenVINO, as `make setup` installs it."""
    return not _BFLOAT16.isdisjoint(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests that need such a CPU: their subject is the refusal elsewhere, which has tests of its own.

    Args:
        config: That of the run.
        items: The collected tests; those that are left out are taken away.
    """
    unfit = [item for item in items if item.get_closest_marker("bfloat16")]
    if unfit and not multiplies_bfloat16():
        config.hook.pytest_deselected(items=unfit)
        items[:] = [item for item in items if item not in unfit]
