"""Triton's interpreter: it runs the kernels of the noise on the CPU, by numpy."""

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

KERNELS = "certrad.models.smoothing.fused_kernels"


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    """The module of the kernels, imported for the interpreter, and for this module of tests only."""
    pytest.importorskip("triton")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        sys.modules.pop(KERNELS, None)
        yield import_module(KERNELS)
        sys.modules.pop(KERNELS, None)
