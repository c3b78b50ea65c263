"""The memory that an engine uses on its accelerator, or in its process where it computes on the CPU."""

import os
from pathlib import Path

import torch


def used_memory(device: torch.device) -> dict[str, int]:
    """Returns kind -> bytes: `allocated` and `reserved` by torch on an accelerator, else `resident` of the process.

    Args:
        device: The device of the engine.
    """
    if device.type == "cuda":
        return {"allocated": torch.cuda.memory_allocated(device), "reserved": torch.cuda.memory_reserved(device)}
    return {"resident": _resident_bytes()}


def _resident_bytes() -> int:
    """Returns the resident memory of this process; 0 where the kernel has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
