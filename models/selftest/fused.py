"""The comparison of the fused noise kernel with the eager law, by which a device chooses what draws its noise."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from certrad.models.selftest.outcome import CheckFailedError
from certrad.models.smoothing.device_noise import DeviceNoise
from certrad.models.smoothing.fused_noise import FusedNoise, InputForm, fused_normals, fused_words, record_comparison
from certrad.models.smoothing.noise import Noise, Stream, boxmuller, philox4x32, two_words

KEY: Final = bytes(range(0xC0, 0xE0))
SIGMA: Final = 0.3
"""No float32 number, as the two below."""
SHAPES: Final = ((1, 1, 1), (3, 5, 7), (3, 33, 31), (3, 224, 224))
"""Images whose last pair is cut in two, whose last block is short, and of the size that most encoders take."""
INDICES: Final = (range(1), range(1, 4), range(999_999, 1_000_001))
MOST_ULP: Final = 4
"""Logarithm, sine and cosine of either side may err by up to 2 units in the last place."""
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of the pixels that CLIP was trained on."""


def choose_noise_kernel(device: torch.device, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> str:
    """Compares the kernel with the eager law, and lets the samplers of this process use it if they agree.

    A kernel that cannot run, or differs, fails no self-test: the eager law draws the same noise, more slowly.

    Args:
        device: The device.
        shapes: The images to compare on.

    Returns:
        What draws the noise from now on, as a sentence.
    """
    record_comparison(device, exact=False)
    try:
        found = compare_fused_noise(device, shapes)
    except CheckFailedError as difference:
        return f"noise by torch operations, for the fused kernel was refused: {difference}"
    except Exception as error:  # the rim: whatever a compiler or a driver raises, the kernel does not run here
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return f"noise by torch operations, for the fused kernel does not run: {reason}"
    record_comparison(device, exact=True)
    return f"noise by the fused kernel: {found}"


def compare_fused_noise(device: torch.device, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> str:
    """Compares words, normals and noisy pixels of the kernel with those of the eager law, in every stream.

    Args:
        device: The device.
        shapes: The images to compare on.

    Returns:
        What was compared.

    Raises:
        CheckFailedError: A word or a noisy pixel differs, or a normal by more than MOST_ULP.
    """
    worst, values = 0.0, 0
    for shape in shapes:
        d = torch.Size(shape).numel()
        image = np.random.default_rng(d).random(shape)
        eager = DeviceNoise(noise=Noise(KEY, "philox-boxmuller-f64"), image=_on(image, device), sigma=SIGMA, fused=None)
        fused = FusedNoise(key=KEY, image=eager.image, sigma=SIGMA)
        for stream in Stream:
            for indices in INDICES:
                where = f"stream {stream.name}, samples {indices.start} to {indices.stop - 1}, {d} values"
                pairs = (d + 1) // 2
                if not torch.equal(
                    fused_words(KEY, stream, indices, pairs, device), _words(stream, indices, pairs, device)
                ):
                    raise CheckFailedError(f"a word differs in {where}")
                ulp = _ulp(fused_normals(KEY, stream, indices, d, device), boxmuller(KEY, stream, indices, d, device))
                if not ulp <= MOST_ULP:
                    raise CheckFailedError(f"a normal differs by {ulp:.1f} units in the last place in {where}")
                if not torch.equal(fused.inputs(stream, indices), eager.pixels(stream, indices)):
                    raise CheckFailedError(f"a noisy pixel differs in {where}")
                worst, values = max(worst, ulp), values + len(indices) * d
    _compare_precision(device)
    _compare_forms(device)
    return (
        f"words and pixels of {values} values equal the eager law's, normals within {worst:.0f} units in the last place"
    )


def _compare_precision(device: torch.device) -> None:
    """Compares pixels that differ wherever sigma or the image is rounded to float32 on the way, which few others do.

    Sigma counts where noisy pixels have seven digits. The image counts where it lies 1e-9 beside the middle of two grey
    levels, and the noise is smaller than that.

    Raises:
        CheckFailedError: One differs.
    """
    shape = (3, 5, 7)
    middle = (np.arange(np.prod(shape)) + 0.5) / 255 + np.resize([1e-9, -1e-9], np.prod(shape))
    for name, sigma, image in (
        ("sigma", 9_999.9, np.random.default_rng(0).random(shape)),
        ("the image", 1e-13, middle.reshape(shape)),
    ):
        pixels = _on(image, device)
        eager = DeviceNoise(noise=Noise(KEY, "philox-boxmuller-f64"), image=pixels, sigma=sigma, fused=None)
        found = FusedNoise(key=KEY, image=pixels, sigma=sigma).inputs(Stream.ESTIMATE, range(4))
        if not torch.equal(found, eager.pixels(Stream.ESTIMATE, range(4))):
            raise CheckFailedError(f"{name} is not taken in float64")


def _compare_forms(device: torch.device) -> None:
    """Compares normalised inputs, of every dtype and memory format, with normalised pixels.

    Raises:
        CheckFailedError: One differs.
    """
    pixels = _on(np.random.default_rng(1).random((3, 5, 7)), device)
    eager = DeviceNoise(noise=Noise(KEY, "philox-boxmuller-f64"), image=pixels, sigma=SIGMA, fused=None)
    drawn = eager.pixels(Stream.ESTIMATE, range(4))
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (_MEAN, _STD))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        expected = ((drawn - mean) / std).to(dtype)
        for channels_last in (False, True):
            form = InputForm(dtype=dtype, channels_last=channels_last, mean=_MEAN, std=_STD)
            found = FusedNoise(key=KEY, image=pixels, sigma=SIGMA, form=form).inputs(Stream.ESTIMATE, range(4))
            if not torch.equal(found, expected):
                layout = "channels last" if channels_last else "channels first"
                raise CheckFailedError(f"a normalised input differs in {dtype}, {layout}")


def _words(stream: Stream, indices: range, pairs: int, device: torch.device) -> torch.Tensor:
    pair = torch.arange(pairs, dtype=torch.int64, device=device)[None, :]
    index = torch.arange(indices.start, indices.stop, dtype=torch.int64, device=device)[:, None]
    zero = torch.zeros_like(index)
    return torch.stack(philox4x32((pair, zero, index, zero + int(stream)), two_words(KEY)), dim=-1)


def _ulp(found: torch.Tensor, expected: torch.Tensor) -> float:
    exact = expected.cpu().numpy()
    return float((np.abs(found.cpu().numpy() - exact) / np.spacing(np.abs(exact))).max())


def _on(image: np.ndarray[tuple[int, ...], np.dtype[np.float64]], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(image).to(device)
