"""The processor whose arithmetic an encoder uses: two with different names may round the same product differently."""

import os
import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import torch

_CPUINFO: Final = Path("/proc/cpuinfo")
_VENDORS: Final = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}
_AVX2: Final = frozenset({"sse4_1", "avx", "avx2"})
_AVX512: Final = _AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
_BF16: Final = _AVX512 | {"avx512_vnni", "avx512_bf16"}
_FP16: Final = _BF16 | {"avx512_fp16", "avx_vnni"}
_AMX: Final = _FP16 | {"amx_tile", "amx_int8", "amx_bf16"}

_ONEDNN: Final[Mapping[str, frozenset[str]]] = {
    "avx512_core_amx_fp16": _AMX | {"amx_fp16"},
    "avx512_core_amx": _AMX,
    "avx512_core_fp16": _FP16,
    "avx512_core_bf16": _BF16,
    "avx512_core_vnni": _AVX512 | {"avx512_vnni"},
    "avx512_core": _AVX512,
    "avx2_vnni_2": _AVX2 | {"avx_vnni", "avx_vnni_int8", "avx_ne_convert"},
    "avx2_vnni": _AVX2 | {"avx_vnni"},
    "avx2": _AVX2,
    "avx": frozenset({"sse4_1", "avx"}),
    "sse41": frozenset({"sse4_1"}),
}
"""Instruction set of oneDNN -> the flags of Linux that it takes; the first one that a processor has is used."""

_ARM: Final = ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16", "svei8mm", "sme")
"""What Linux calls the instructions of ARM that decide which code oneDNN and torch use."""

_ALIASES: Final = {
    "avx10_1_512": "avx512_core_fp16",
    "avx10_1_512_amx": "avx512_core_amx",
    "avx10_1_512_amx_fp16": "avx512_core_amx_fp16",
}


def processor_name(device: torch.device) -> str:
    """Returns the name of the processor, as far as the last bits of an encoder depend on it.

    On a CPU it names the instruction sets that torch, oneDNN and MKL use, with what the environment takes from them:
    `torch-avx512 onednn-avx512_core_amx mkl-intel`. On a GPU it names the model and the compute capability.

    Args:
        device: The device of the encoder.
    """
    if device.type != "cuda":
        return cpu_name(os.environ, _flags(), _vendor(), platform.machine())
    major, minor = torch.cuda.get_device_capability(device)
    parts = [torch.cuda.get_device_name(device), f"sm_{major}{minor}", *_chosen("tf32", "NVIDIA_TF32_OVERRIDE")]
    return " ".join(parts)


def cpu_name(environment: Mapping[str, str], flags: frozenset[str], vendor: str, machine: str = "x86_64") -> str:
    """Returns the name of a CPU; `unknown` stands in it where the system does not tell what the CPU has.

    Args:
        environment: The variables that the process began with.
        flags: The instructions of the processor as Linux names them.
        vendor: Its vendor, which MKL chooses its code by.
        machine: Its architecture.
    """
    parts = [f"torch-{torch.backends.cpu.get_cpu_capability().lower()}"]
    if "sse4_1" not in flags:  # another architecture: oneDNN and torch use what it has
        of_arm: list[str] = [name for name in _ARM if name in flags]
        parts.append("-".join(["onednn", re.sub(r"[^a-z0-9_]", "", machine.lower())[:24], *(of_arm or ["unknown"])]))
        return " ".join([*parts, *_chosen("fpmath", "ONEDNN_DEFAULT_FPMATH_MODE", environment)])
    native, allowed = _best(flags), _allowed(environment)
    used = native if allowed is None else _best(flags & allowed)
    parts.append(f"onednn-{used}" if used == native else f"onednn-{used}-of-{native}")
    # Beside the instruction set, one may choose a precision below that of the dtype.
    parts += _chosen("fpmath", "ONEDNN_DEFAULT_FPMATH_MODE", environment)
    if torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]  # torch does not type it
        parts.append(f"mkl-{vendor}")
        parts += _chosen("cbwr", "MKL_CBWR", environment) + _chosen("only", "MKL_ENABLE_INSTRUCTIONS", environment)
    return " ".join(parts)


def _best(flags: frozenset[str]) -> str:
    return next((name for name, needed in _ONEDNN.items() if needed <= flags), "none")


def _allowed(environment: Mapping[str, str]) -> frozenset[str] | None:
    """Returns the flags that oneDNN may use; None for all. It ignores a name that it does not know."""
    value = environment.get("ONEDNN_MAX_CPU_ISA") or environment.get("DNNL_MAX_CPU_ISA") or ""
    return _ONEDNN.get(_ALIASES.get(value.lower(), value.lower()))


def _chosen(part: str, variable: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the part of the name that says what a variable chooses, nothing where it is not set."""
    value = re.sub(r"[^a-z0-9_,]", "", environment.get(variable, "").lower())[:24]
    return [f"{part}-{value}"] if value else []


@cache
def _processor() -> Mapping[str, str]:
    """Returns the facts of the first processor; none where the system does not tell them."""
    if not _CPUINFO.exists():
        return {}
    pairs = (line.partition(":") for line in _CPUINFO.read_text().split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _flags() -> frozenset[str]:
    """Returns the instructions of the processor, without the tiles of AMX where the system does not grant them."""
    facts = _processor()
    flags = frozenset((facts.get("flags") or facts.get("Features", "")).split())  # the latter on ARM
    granted = "amx_tile" in flags and torch.cpu._init_amx()
    return flags if granted else frozenset(flag for flag in flags if not flag.startswith("amx_"))


def _vendor() -> str:
    vendor = _processor().get("vendor_id", "")
    return _VENDORS.get(vendor, "other")
