"""A device uses the fused noise kernel only where it gives what the eager law gives, in Triton's interpreter."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from certrad.models.selftest.fused import SHAPES, choose_noise_kernel
from certrad.models.smoothing.device import noise_path
from certrad.models.smoothing.fused_noise import FusedNoise, InputForm, fused_noise_is_exact, record_comparison
from certrad.models.smoothing.noise import Stream
from tests.support.triton_interpreter import kernels

__all__ = ["kernels"]

pytestmark = pytest.mark.usefixtures("kernels")

CPU = torch.device("cpu")
SMALL = SHAPES[:2]  # the others take minutes in the interpreter


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    record_comparison(CPU, exact=False)


def test_a_kernel_that_equals_the_eager_law_is_used() -> None:
    assert choose_noise_kernel(CPU, SMALL).startswith(
        "noise by the fused kernel: words and pixels of 2544 values equal"
    )
    assert fused_noise_is_exact(CPU)


@pytest.mark.parametrize(
    ("constant", "wrong", "reason"),
    [
        ("WEYL_0", 0x9E3779B8, "a word differs in stream ADAPT"),
        ("WEYL_1", 0xBB67AE84, "a word differs in stream ADAPT"),
        ("MULTIPLIER_0", 0xD2511F55, "a word differs in stream ADAPT"),
        ("MULTIPLIER_1", 0xCD9E8D55, "a word differs in stream ADAPT"),
        ("ROUNDS", 9, "a word differs in stream ADAPT"),
        ("UNIT", 2.0**-54, "a normal differs"),
        ("TWO_PI", 6.2831854820251465, "a normal differs"),  # that of float32
        ("WHITE", 256.0, "a noisy pixel differs"),
    ],
)
def test_a_wrong_constant_is_refused(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, constant: str, wrong: float, reason: str
) -> None:
    record_comparison(CPU, exact=True)
    monkeypatch.setattr(kernels, constant, type(kernels.UNIT)(wrong))
    found = choose_noise_kernel(CPU, SMALL[:1])
    assert found.startswith(f"noise by torch operations, for the fused kernel was refused: {reason}")
    assert not fused_noise_is_exact(CPU)


@pytest.mark.parametrize(("field", "name"), [("_sigma", "sigma"), ("image", "the image")])
def test_a_number_that_is_rounded_to_float32_is_refused(monkeypatch: pytest.MonkeyPatch, field: str, name: str) -> None:
    honest = FusedNoise.inputs

    def rounded(fused: FusedNoise, stream: Stream, indices: range) -> torch.Tensor:
        object.__setattr__(fused, field, getattr(fused, field).float().double())
        return honest(fused, stream, indices)

    monkeypatch.setattr(FusedNoise, "inputs", rounded)
    assert choose_noise_kernel(CPU, SMALL).endswith(f"was refused: {name} is not taken in float64")


@pytest.mark.parametrize("wrong", ["_MEAN", "_STD"])
def test_a_normalisation_that_differs_by_one_bit_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    numbers = (0.4814547, 0.4578275, 0.40821073) if wrong == "_MEAN" else (0.26862958, 0.26130258, 0.27577711)
    honest = InputForm

    def differing(**fields: object) -> InputForm:
        return honest(**(fields | {wrong.strip("_").lower(): numbers}))  # type: ignore[arg-type]

    monkeypatch.setattr("certrad.models.selftest.fused.InputForm", differing)
    found = choose_noise_kernel(CPU, SMALL[:1])
    assert found.endswith("was refused: a normalised input differs in torch.float32, channels first")


def test_a_layout_that_the_kernel_ignores_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = FusedNoise.inputs

    def transposed(fused: FusedNoise, stream: Stream, indices: range) -> torch.Tensor:
        found = honest(fused, stream, indices)
        return found.flip(1) if fused.form.channels_last else found

    monkeypatch.setattr(FusedNoise, "inputs", transposed)
    found = choose_noise_kernel(CPU, SMALL[:1])
    assert found.endswith("was refused: a normalised input differs in torch.float32, channels last")


def test_a_machine_without_a_compiler_for_the_kernel_draws_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> ModuleType:
        raise RuntimeError("Failed to find C compiler\nmore words")

    monkeypatch.setattr("certrad.models.smoothing.fused_noise._kernels", broken)
    expected = "noise by torch operations, for the fused kernel does not run: RuntimeError: Failed to find C compiler"
    assert choose_noise_kernel(CPU, SMALL) == expected
    assert not fused_noise_is_exact(CPU)


def test_a_torch_without_triton_draws_by_torch(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, kernels.__name__)
    monkeypatch.setitem(sys.modules, "triton", None)
    expected = "noise by torch operations, for the fused kernel does not run: ModuleNotFoundError"
    assert choose_noise_kernel(CPU, SMALL).startswith(expected)


def test_the_path_of_the_noise_is_what_was_chosen() -> None:
    gpu = torch.device("cuda:7")
    assert noise_path(CPU) == "numpy"
    assert noise_path(gpu) == "torch operations"
    record_comparison(gpu, exact=True)
    try:
        assert noise_path(gpu) == "fused kernel"
    finally:
        record_comparison(gpu, exact=False)
