"""The machine that a measured time depends on: processor, its instructions, threads, accelerator, versions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

CPUINFO: Final = Path("/proc/cpuinfo")
INSTRUCTIONS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "bf16")
"""Instruction sets that decide how fast float32 and bfloat16 matrix products are."""
BF16_INSTRUCTIONS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine a figure was measured on; no host name, address or serial number."""

    processor: str
    cores: int
    instructions: tuple[str, ...]
    load: float
    """Mean number of runnable processes over the last minute before the measurement: above 0, others computed too."""
    threads: int
    accelerator: str | None
    python: str
    torch: str

    @property
    def has_bf16(self) -> bool:
        """Returns whether bfloat16 products are computed by hardware, not emulated."""
        return self.accelerator is not None or not BF16_INSTRUCTIONS.isdisjoint(self.instructions)


def this_machine() -> Machine:
    """The facts of the machine this process runs on."""
    facts = _cpuinfo()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return Machine(
        processor=facts.get("model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        load=round(os.getloadavg()[0], 2),
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        python=platform.python_version(),
        torch=torch.__version__,
    )


def timed(action: Callable[[], None], device: torch.device) -> float:
    """Return the seconds until an action is done, on the device too, after all that the device had to do before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


@contextmanager
def pinned_to_cores(number: int) -> Iterator[None]:
    """Keeps this thread, and every thread and process that it starts, on as many cores; elsewhere than Linux nothing.

    Args:
        number: How many cores.

    Raises:
        ValueError: The process may not use that many.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    if not 1 <= number <= len(allowed):
        raise ValueError(f"1 to {len(allowed)} cores can be used, got {number}")
    os.sched_setaffinity(0, sorted(allowed)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _cpuinfo() -> dict[str, str]:
    """The lines of the first processor in /proc/cpuinfo; nothing where the system has no such file."""
    if not CPUINFO.exists():
        return {}
    first = CPUINFO.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
