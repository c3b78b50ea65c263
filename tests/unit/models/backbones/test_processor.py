"""The name of a processor: it changes with the instruction sets that torch and oneDNN use, and with nothing else."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from certrad.models.backbones import processor
from certrad.models.backbones.processor import cpu_name, processor_name

SKYLAKE = frozenset({"sse4_1", "avx", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512dq"})
SAPPHIRE_RAPIDS = SKYLAKE | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"}
WITH_TILES = SAPPHIRE_RAPIDS | {"amx_tile", "amx_int8", "amx_bf16"}
ASK = """
import torch
from certrad.models.backbones.processor import processor_name
torch.conv2d(torch.ones(8, 64, 64, 64), torch.ones(64, 64, 3, 3))  # oneDNN says what it uses
print("name:" + processor_name(torch.device("cpu")))
"""


@cache
def told(**variables: str) -> tuple[str, str]:
    """The name in a fresh process, and the instruction set that oneDNN itself says it uses there."""
    own = {name: value for name, value in os.environ.items() if not re.search(r"CAPABILITY|DNN", name)}
    environment = {**own, "ONEDNN_VERBOSE": "1", **variables}
    answer = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True
    ).stdout
    isa = re.search(r"info,cpu,isa:(.*)", answer)
    name = re.search(r"^name:(.*)$", answer, re.MULTILINE)
    assert name is not None
    return name[1], isa[1] if isa is not None else ""


def test_name_of_a_fresh_process_changes_with_what_torch_may_use() -> None:
    assert told()[0] == told(UNRELATED="1")[0]
    assert told(ATEN_CPU_CAPABILITY="default")[0] != told()[0]


def test_name_changes_where_onednn_itself_says_that_it_uses_another_instruction_set() -> None:
    answers = [told(), *(told(ONEDNN_MAX_CPU_ISA=isa) for isa in ("AVX512_CORE", "AVX2", "SSE41"))]
    for name, isa in answers:
        for other_name, other_isa in answers:
            assert (name == other_name) == (isa == other_isa)
    assert len({name for name, _ in answers}) > 1


@pytest.mark.parametrize(
    ("flags", "variable", "expected"),
    [
        (WITH_TILES, {}, "onednn-avx512_core_amx"),
        (SAPPHIRE_RAPIDS, {}, "onednn-avx512_core_fp16"),
        (SKYLAKE, {}, "onednn-avx512_core"),
        (WITH_TILES, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "onednn-avx512_core_bf16-of-avx512_core_amx"),
        (WITH_TILES, {"DNNL_MAX_CPU_ISA": "avx10_1_512"}, "onednn-avx512_core_fp16-of-avx512_core_amx"),
        (WITH_TILES, {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "onednn-avx512_core_amx"),
        (SKYLAKE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "onednn-avx512_core"),
    ],
)
def test_processors_with_and_without_bfloat16_tiles_have_different_names(
    flags: frozenset[str], variable: dict[str, str], expected: str
) -> None:
    assert cpu_name(variable, flags, "intel").split()[1] == expected


def test_processors_of_arm_with_and_without_bfloat16_have_different_names() -> None:
    cpus: list[frozenset[str]] = [
        frozenset({"fp", "asimd"}),
        frozenset({"fp", "asimd", "bf16"}),
        frozenset({"fp", "asimd", "i8mm"}),
        frozenset({"fp", "asimd", "bf16", "i8mm", "sve"}),
    ]
    names = [cpu_name({}, flags, "other", "aarch64").split()[1] for flags in cpus]
    assert names[-1] == "onednn-aarch64-asimd-bf16-i8mm-sve"
    assert len(set(names)) == len(cpus)


def test_the_features_that_linux_tells_of_arm_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\nCPU implementer\t: 0x41\n\n")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    processor._processor.cache_clear()
    try:
        assert "onednn-aarch64-asimd-bf16-i8mm" in processor_name(torch.device("cpu")).split()
    finally:
        processor._processor.cache_clear()


def test_a_processor_of_which_nothing_is_known_is_called_so() -> None:
    assert cpu_name({}, frozenset(), "other", "arm64").split()[1] == "onednn-arm64-unknown"


def test_a_precision_below_that_of_the_dtype_is_told() -> None:
    usual = cpu_name({}, SKYLAKE, "intel")
    assert cpu_name({"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}, SKYLAKE, "intel") != usual
    assert cpu_name({"MKL_CBWR": "COMPATIBLE"}, SKYLAKE, "intel") != usual
    assert cpu_name({}, SKYLAKE, "amd") != usual


def test_name_is_short_and_printable_whatever_the_environment_says() -> None:
    strange = {"MKL_CBWR": "\x1b[2J" + "x" * 1000, "MKL_ENABLE_INSTRUCTIONS": "\n\u202e"}
    for name in (processor_name(torch.device("cpu")), cpu_name(strange, WITH_TILES, "intel")):
        assert re.fullmatch(r"[a-z0-9_, -]{1,160}", name)


def test_name_of_a_gpu_is_its_model_and_its_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert processor_name(torch.device("cuda")) == "NVIDIA H200 sm_90"
