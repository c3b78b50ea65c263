"""The fused kernel of the device law, in Triton's interpreter: words, normals and pixels are those of the eager law."""

import json
import math
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from certrad.bench.selftest.philox import philox4x
from certrad.models.backbones.base import EMBEDDED, EMBEDDED_ID, load_backbone
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing.device_noise import DeviceNoise
from certrad.models.smoothing.fused_noise import (
    PIXELS,
    FusedNoise,
    InputForm,
    fused_noise_is_exact,
    fused_normals,
    fused_words,
    record_comparison,
    traffic,
)
from certrad.models.smoothing.noise import Noise, Stream, boxmuller
from certrad.models.smoothing.sampling import NoisySampler
from tests.support.processes import ROOT
from tests.support.triton_interpreter import kernels

__all__ = ["kernels"]

pytestmark = pytest.mark.usefixtures("kernels")

KEY = bytes(range(32))
CPU = torch.device("cpu")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def image(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).random(shape))


def eager_pixels(pixels: torch.Tensor, stream: Stream, indices: range) -> torch.Tensor:
    noise = Noise(KEY, "philox-boxmuller-f64")
    return DeviceNoise(noise=noise, image=pixels, sigma=0.25, fused=None).pixels(stream, indices)


# -- words, normals, pixels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", Stream)
@pytest.mark.parametrize("indices", [range(2), range(2**31 - 1, 2**31)])
def test_words_are_those_of_philox_in_plain_integers(stream: Stream, indices: range) -> None:
    found = fused_words(KEY, stream, indices, 3, CPU)
    pair_key = [int.from_bytes(KEY[at : at + 4], "little") for at in (0, 4)]
    expected = [[philox4x(32, (pair, 0, index, stream), pair_key) for pair in range(3)] for index in indices]
    assert found.tolist() == expected


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32])
def test_words_of_extreme_keys_are_those_of_philox(key: bytes) -> None:
    pair_key = [int.from_bytes(key[at : at + 4], "little") for at in (0, 4)]
    found = fused_words(key, Stream.SELECT, range(1), 1, CPU)
    assert found.tolist() == [[philox4x(32, (0, 0, 0, Stream.SELECT), pair_key)]]


@pytest.mark.parametrize("stream", Stream)
@pytest.mark.parametrize("d", [1, 2, 511, 513])
def test_normals_are_within_four_units_in_the_last_place_of_the_eager_ones(stream: Stream, d: int) -> None:
    indices = range(7, 9)
    exact = boxmuller(KEY, stream, indices, d, CPU).numpy()
    off = np.abs(fused_normals(KEY, stream, indices, d, CPU).numpy() - exact)
    assert (off <= 4 * np.spacing(np.abs(exact))).all()


def test_known_answers_of_the_law_hold_for_the_kernel() -> None:
    normals = fused_normals(KEY, Stream.ESTIMATE, range(9999, 10_000), 3, CPU)[0]
    assert normals.tolist() == pytest.approx([-0.3150376756579673, 1.3586717379333373, 1.2585528141309994], rel=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("shape", [(3, 9, 7), (3, 16, 12)])
def test_inputs_equal_the_eager_pixels_in_every_form(
    dtype: torch.dtype, channels_last: bool, normalised: bool, shape: tuple[int, ...]
) -> None:
    mean, std = (MEAN, STD) if normalised else ((), ())
    form = InputForm(dtype=dtype, channels_last=channels_last, mean=mean, std=std)
    found = FusedNoise(key=KEY, image=image(*shape), sigma=0.25, form=form).inputs(Stream.ESTIMATE, range(8, 11))
    expected = eager_pixels(image(*shape), Stream.ESTIMATE, range(8, 11))
    if normalised:
        expected = (expected - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    assert torch.equal(found, expected.to(dtype))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("shape", [(1, 9, 7), (1, 16, 12), (3, 11, 5)])
def test_rendered_images_get_the_pixels_of_the_eager_law(shape: tuple[int, ...]) -> None:
    """Noise on the image needs one channel, too, and images that are no squares, before its map to the model input."""
    found = FusedNoise(key=KEY, image=image(*shape), sigma=0.25).inputs(Stream.ESTIMATE, range(8, 11))
    assert torch.equal(found, eager_pixels(image(*shape), Stream.ESTIMATE, range(8, 11)))


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_encoder_gives_the_same_features_of_normalised_inputs_as_of_pixels(channels_last: bool) -> None:
    backbone = load_backbone(shipped_backbones()[EMBEDDED_ID], EMBEDDED)
    side, card = backbone.image_size, backbone.card
    form = InputForm(dtype=backbone.dtype, channels_last=channels_last, mean=card.mean, std=card.std)
    inputs = FusedNoise(key=KEY, image=image(3, side, side), sigma=0.25, form=form).inputs(Stream.ESTIMATE, range(2))
    with torch.inference_mode():
        found = backbone.encode_normalised(inputs)
        expected = backbone.encode_image(eager_pixels(image(3, side, side), Stream.ESTIMATE, range(2)))
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mean", "even"), [(-1 / 256, 1.0), (-3 / 256, 1 + 1 / 64)])
def test_a_number_in_the_middle_of_two_bfloat16_numbers_goes_to_the_even_one(mean: float, even: float) -> None:
    """A white pixel less the mean is in the middle of two numbers of 8 bits, and rounded down or up."""
    pixels = torch.ones((1, 20, 20), dtype=torch.float64)
    white = eager_pixels(pixels, Stream.ESTIMATE, range(1)) == 1
    assert white.sum() > 1
    form = InputForm(dtype=torch.bfloat16, mean=(mean,), std=(1.0,))
    found = FusedNoise(key=KEY, image=pixels, sigma=0.25, form=form).inputs(Stream.ESTIMATE, range(1))
    assert (found[white] == even).all()


def test_an_image_of_one_channel_is_drawn() -> None:
    found = FusedNoise(key=KEY, image=image(1, 5, 5), sigma=0.25).inputs(Stream.ADAPT, range(2))
    assert torch.equal(found, eager_pixels(image(1, 5, 5), Stream.ADAPT, range(2)))


# -- where it is used ------------------------------------------------------------------------------------------------


def test_a_sampler_uses_the_kernel_after_it_was_found_exact_and_draws_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = Noise(KEY, "philox-boxmuller-f64")
    sampler = NoisySampler(image=image(3, 9, 7).numpy(), sigma=0.25, noise=noise, batch_size=2, device=CPU)
    eager, drawn = sampler.batch(Stream.PREDICT, 4), []
    honest = FusedNoise.inputs

    def spied(fused: FusedNoise, stream: Stream, indices: range) -> torch.Tensor:
        drawn.append(indices)
        return honest(fused, stream, indices)

    monkeypatch.setattr(FusedNoise, "inputs", spied)
    assert drawn == []
    record_comparison(CPU, exact=True)
    try:
        assert torch.equal(sampler.batch(Stream.PREDICT, 4), eager)
        assert drawn == [range(4, 6)]
    finally:
        record_comparison(CPU, exact=False)


def test_no_device_uses_the_kernel_before_it_was_compared() -> None:
    assert not any(fused_noise_is_exact(torch.device(name)) for name in ("cpu", "cuda", "cuda:1"))


def test_an_index_beyond_the_counter_word_of_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"below 2\^31"):
        fused_words(KEY, Stream.ESTIMATE, range(2**31, 2**31 + 1), 1, CPU)


def test_a_normalisation_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="of 1 channels, got 3"):
        FusedNoise(key=KEY, image=image(1, 5, 5), sigma=0.25, form=InputForm(mean=MEAN, std=STD))
    with pytest.raises(ValueError, match="the same channels"):
        InputForm(mean=MEAN)


def test_the_traffic_is_the_image_read_and_the_input_written() -> None:
    assert traffic((3, 224, 224), PIXELS) == 150_528 * (8 + 4)
    assert traffic((3, 224, 224), InputForm(dtype=torch.bfloat16)) == 150_528 * (8 + 2)


# -- what a GPU would run --------------------------------------------------------------------------------------------

COMPILE = """
import json, re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from certrad.models.smoothing.fused_kernels import pixels_kernel
from certrad.models.smoothing.fused_noise import LAUNCH
signature = {"out": "*bf16", "image": "*fp64", "key": "*i64", "sigma": "*fp64", "normalisation": "*fp32",
             "first": "i32", "stream": "i32", "d": "i32", "area": "i32"}
constants = {"channels": 3, "channels_last": True, "normalised": True, "block": 256}
source = ASTSource(fn=pixels_kernel, signature={**signature, **dict.fromkeys(constants, "constexpr")},
                   constexprs=constants)
compiled = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=LAUNCH)
lines = compiled.asm["ptx"].splitlines()
print(json.dumps({
    "functions": sorted(set(re.findall(r"__nv_(?:log|cos|sin)f?", compiled.asm["llir"]))),
    "rounded": sorted({word for line in lines for word in re.findall(r"(?:sqrt|div)[.]\\w+[.]f\\d\\d", line)}),
    "sums that may be fused": sum(bool(re.search(r"\\b(?:mul|add|sub)[.]f\\d\\d\\b", line)) for line in lines),
    "binary": len(compiled.asm["cubin"]),
}))
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_for_a_gpu_with_libdevice_and_every_operation_rounded(
    capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    command = [sys.executable, "-c", COMPILE, str(capability)]
    compiled = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    assert compiled["functions"] == ["__nv_cos", "__nv_log", "__nv_sin"]
    assert compiled["rounded"] == ["div.rn.f32", "sqrt.rn.f64"]
    assert compiled["sums that may be fused"] == 0
    assert compiled["binary"] > 0


def test_rounding_by_a_large_number_is_rint() -> None:
    """What the kernel does in place of rint, which Triton has only as a function of libdevice."""
    values = np.concatenate([np.arange(-4000, 4000) / 2, np.random.default_rng(0).normal(0, 500, 10_000)])
    assert np.array_equal((values + 1.5 * 2.0**52) - 1.5 * 2.0**52, np.rint(values))
    assert math.copysign(1, 1.5 * 2.0**52) == 1


def test_constants_are_those_of_the_eager_law(kernels: ModuleType) -> None:
    assert kernels.TWO_PI.value == 2 * math.pi
    assert kernels.UNIT.value == 2.0**-53
