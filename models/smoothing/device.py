"""Choices that depend on the device: the noise law and the batch size."""

import torch

from certrad.models.smoothing.fused_noise import fused_noise_is_exact
from certrad.models.types import NoiseLaw
from certrad.models.types.smoothing import BLOCK_CPU, BLOCK_GPU


def noise_law(device: torch.device) -> NoiseLaw:
    """Returns the noise law of a device: numpy's ziggurat on a CPU, Box-Muller in torch operations elsewhere.

    Args:
        device: The device.
    """
    return "philox-ziggurat-f64" if device.type == "cpu" else "philox-boxmuller-f64"


def noise_path(device: torch.device) -> str:
    """Returns what computes the noise law of a device: `numpy`, `fused kernel` or `torch operations`.

    Args:
        device: The device.
    """
    if device.type == "cpu":
        return "numpy"
    return "fused kernel" if fused_noise_is_exact(device) else "torch operations"


def default_batch_size(device: torch.device) -> int:
    """Returns the default number of samples of a batch, which is a block of the ledger.

    Args:
        device: The device.
    """
    return BLOCK_CPU if device.type == "cpu" else BLOCK_GPU
