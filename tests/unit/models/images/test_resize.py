"""The resize operator of one axis agrees with Pillow's and with its singular values."""

import numpy as np
import pytest
from PIL import Image

from certrad.models.images.resize import AxisResize

SIZES_AND_NORMS = [
    (28, 2.8310),
    (64, 1.8726),
    (96, 1.5287),
    (128, 1.3233),
    (224, 1.0),
    (256, 0.9369),
    (299, 0.8662),
    (320, 0.8380),
    (448, 0.7096),
    (512, 0.6644),
    (768, 0.5432),
    (1024, 0.4707),
    (1500, 0.3890),
    (2048, 0.3330),
]
"""docs/mathematics.md, 5.2: norms of Pillow's bicubic resize to 224, from the SVD of resized identities."""


def whole(n: int, m: int) -> AxisResize:
    return AxisResize.to_centre(n, m, m)


@pytest.mark.parametrize(("n", "m"), [(28, 224), (96, 224), (224, 224), (225, 224), (512, 224), (1024, 224), (300, 64)])
def test_the_matrix_is_pillows_float_resize(n: int, m: int) -> None:
    identity = Image.fromarray(np.eye(n, dtype=np.float32))
    pillow = np.asarray(identity.resize((m, n), Image.Resampling.BICUBIC)).T
    assert np.abs(whole(n, m).matrix() - pillow).max() < 1e-6


@pytest.mark.parametrize(("n", "norm"), SIZES_AND_NORMS)
def test_the_norm_is_the_largest_singular_value(n: int, norm: float) -> None:
    axis = whole(n, 224)
    assert axis.norm() == pytest.approx(norm, abs=5.1e-5)
    assert axis.norm() == pytest.approx(np.linalg.norm(axis.matrix(), 2), rel=1e-11)


@pytest.mark.parametrize(("n", "m", "size"), [(500, 373, 224), (8_000_000, 64_000_000, 64), (64, 320, 224)])
def test_only_the_cropped_rows_count(n: int, m: int, size: int) -> None:
    axis = AxisResize.to_centre(n, m, size)
    assert axis.weights.shape[0] == size
    assert axis.matrix().shape[1] == len(axis.samples) < n
    assert (axis.matrix()[:, [0, -1]] != 0).any(axis=0).all()
    assert axis.norm() == pytest.approx(np.linalg.norm(axis.matrix(), 2), rel=1e-11)


def test_cropped_rows_are_those_of_the_whole_operator() -> None:
    n, m, size = 300, 140, 64
    cropped, offset = AxisResize.to_centre(n, m, size), round((140 - 64) / 2)
    samples = cropped.samples
    rows = whole(n, m).matrix()[offset : offset + size]
    assert np.array_equal(cropped.matrix(), rows[:, samples.start : samples.stop])
    assert np.abs(rows).sum() == np.abs(cropped.matrix()).sum()


@pytest.mark.parametrize(("n", "m"), [(8, 224), (1000, 64), (224, 224)])
def test_a_constant_is_kept(n: int, m: int) -> None:
    assert np.abs(whole(n, m).matrix().sum(axis=1) - 1).max() < 1e-14


def test_apply_is_the_matrix() -> None:
    pixels = np.random.default_rng(0).random((100, 7, 3))
    expected = np.einsum("rn,nwc->rwc", whole(100, 64).matrix(), pixels)
    assert np.abs(whole(100, 64).apply(pixels, 0) - expected).max() < 1e-14


def test_weights_of_a_row_sum_to_at_most_1_27() -> None:
    """What the allowance for float64 sums in `image_scale` rests on; the largest is 1.2688."""
    sides = [*range(8, 700, 7), 236, 242, 362, 1024, 2048, 8000]
    assert max(np.abs(whole(n, m).weights).sum(axis=1).max() for n in sides for m in (64, 224, 336)) < 1.27
