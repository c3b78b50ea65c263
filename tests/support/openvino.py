"""Which machines compute an image tower by OpenVINO."""

import pytest
import torch

from certrad.bench.common.machine import this_machine
from certrad.models.backbones.openvino_tower import require_openvino


def _check() -> bool:
    """Returns whether this CPU multiplies bfloat16; one that does must have OpenVINO, as `make setup` installs it."""
    if not {"avx512_bf16", "amx_bf16"} & set(this_machine().instructions):
        return False
    require_openvino(torch.device("cpu"))
    return True


requires_openvino = pytest.mark.skipif(not _check(), reason="the CPU does not multiply bfloat16 in hardware")
