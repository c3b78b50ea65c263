"""DiffPure and one-shot denoising take the published steps, and a perfect model gives the image back."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from certrad.models.defences.diffusion import (
    DiffPure,
    denoise_once,
    load_diffusion,
    one_shot,
    timestep,
)
from certrad.models.errors import Rejected
from tests.support.diffusion_models import SIDE, knowing, known_model, tiny_unet, write_pipeline


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 4, side: int = SIDE) -> Tensor:
    return torch.rand(n, 3, side, side, generator=seeded(1))


@pytest.mark.parametrize(("sigma", "t"), [(0.1, 58), (0.25, 145), (0.5, 259), (0.75, 339), (1.0, 396)])
def test_the_step_of_a_sigma_is_the_published_one(sigma: float, t: int) -> None:
    model = known_model(lambda x, _: x)
    assert timestep(model.alphas_cumprod, sigma) == t


@pytest.mark.parametrize("sigma", [0.0, -1.0, 100.0, float("nan")])
def test_a_sigma_that_no_step_reaches_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be in"):
        timestep(known_model(lambda x, _: x).alphas_cumprod, sigma)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
def test_a_perfect_model_gives_the_image_under_the_noise_back(sigma: float) -> None:
    images = pictures()
    noisy = images + sigma * torch.randn(images.shape, generator=seeded())
    assert torch.allclose(denoise_once(knowing(images), noisy, sigma), images, atol=1e-5)


def test_one_shot_denoising_shows_the_model_the_noise_of_the_certificate() -> None:
    images = pictures()
    noisy = images + 0.25 * torch.randn(images.shape, generator=seeded())
    model = known_model(lambda x, _: x)
    one_shot(model, 0.25)(noisy)
    ((shown, t),) = model.unet.seen
    assert t == 145
    assert torch.allclose(shown, model.alphas_cumprod[145].sqrt().float() * (2 * noisy - 1), atol=1e-6)


def test_what_is_denoised_is_an_image_of_zero_to_one() -> None:
    wild = denoise_once(known_model(lambda x, _: -10 * x), pictures() + 3, 0.5)
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_a_perfect_model_gives_the_image_back_to_diffpure() -> None:
    images = pictures()
    assert torch.allclose(DiffPure(model=knowing(images))(images, seeded()), images, atol=1e-4)


def test_diffpure_takes_150_steps_back_from_the_noise_of_150_steps() -> None:
    model = known_model(lambda x, _: x)
    DiffPure(model=model)(torch.full((8, 3, SIDE, SIDE), 0.5), seeded())
    seen = model.unet.seen
    assert [t for _, t in seen] == list(range(149, -1, -1))
    # 6,144 values: 6% is more than six standard deviations of their standard deviation.
    assert seen[0][0].std() == pytest.approx((1 - model.alphas_cumprod[149]).sqrt().item(), rel=0.06)


@pytest.mark.parametrize("steps", [0, 1001])
def test_more_steps_than_the_schedule_has_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=r"steps must be in 1\.\.1000"):
        DiffPure(model=known_model(lambda x, _: x), steps=steps)


def test_the_exact_gradient_of_diffpure_is_that_of_the_very_noise_it_drew() -> None:
    # The variance is learned, so that a step's noise is multiplied by what the model says of x.
    model = known_model(
        lambda x, _: torch.cat([0.5 * x.tanh(), x.sin()], dim=1), None, variance_type="learned_range", clip_sample=False
    )
    defence = DiffPure(model=model, steps=3, differentiate="exact")
    pixels = pictures(1, 4).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: defence(x, seeded()), (pixels,), atol=1e-7)


def test_without_an_exact_gradient_diffpure_has_that_of_the_identity() -> None:
    pixels = pictures(2).requires_grad_(True)
    upstream = torch.randn(pixels.shape, generator=seeded(2))
    purified = DiffPure(model=known_model(lambda x, _: x.tanh()), steps=3)(pixels, seeded())
    (gradient,) = torch.autograd.grad(purified, pixels, upstream)
    assert torch.equal(gradient, upstream)


def test_one_seed_is_one_purification() -> None:
    defence = DiffPure(model=known_model(lambda x, _: x.tanh()), steps=5)
    first, again, other = (defence(pictures(), seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_another_size_than_the_models_is_resampled_there_and_back() -> None:
    model = known_model(lambda x, _: x.tanh())
    images = pictures(2, 24)
    for purified in (DiffPure(model=model, steps=2)(images, seeded()), denoise_once(model, images, 0.25)):
        assert purified.shape == images.shape
    assert {tuple(x.shape[-2:]) for x, _ in model.unet.seen} == {(SIDE, SIDE)}


@pytest.mark.parametrize(
    ("channels", "variance", "flat", "old_names"),
    [(3, "fixed_small", False, False), (6, "learned_range", True, True)],
    ids=["pipeline", "learned variance, one directory, old names"],
)
def test_a_pipeline_on_disk_purifies_as_the_library_does(
    tmp_path: Path, channels: int, variance: str, flat: bool, old_names: bool
) -> None:
    unet = tiny_unet(channels)
    model = load_diffusion(write_pipeline(tmp_path, unet, flat=flat, old_names=old_names, variance_type=variance))
    images = pictures(2)
    noisy = images + 0.5 * torch.randn(images.shape, generator=seeded())
    share = float(model.alphas_cumprod[259])
    with torch.no_grad():
        x = share**0.5 * (2 * noisy - 1)
        noise = unet(x, 259).sample[:, :3]
        # A random network is far from the truth: the clip of the last line would hide all of it.
        assert torch.allclose(model.output(x, 259)[:, :3], noise, atol=1e-6)
        expected = ((x - (1 - share) ** 0.5 * noise) / share**0.5).clamp(-1, 1) / 2 + 0.5
        assert torch.allclose(denoise_once(model, noisy, 0.5), expected, atol=1e-5)
        purified = DiffPure(model=model, steps=4)(images, seeded())
    assert purified.shape == images.shape
    assert purified.isfinite().all()


def refused(directory: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        load_diffusion(directory)
    return caught.value


@pytest.mark.parametrize(
    "name",
    ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_pipeline(tmp_path, tiny_unet()) / name).unlink()
    error = refused(tmp_path)
    assert error.code == "model_unavailable"
    assert Path(name).name in error.detail


def test_weights_without_a_layer_are_refused_and_the_layer_named(tmp_path: Path) -> None:
    unet = tiny_unet()
    del unet.conv_norm_out
    error = refused(write_pipeline(tmp_path, unet))
    assert error.code == "invalid_weights"
    assert "conv_norm_out.weight" in error.detail


def test_a_model_that_predicts_something_else_than_noise_is_refused(tmp_path: Path) -> None:
    error = refused(write_pipeline(tmp_path, tiny_unet(), prediction_type="v_prediction"))
    assert (error.code, "epsilon" in error.detail) == ("invalid_weights", True)


def test_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    write_pipeline(tmp_path, tiny_unet())
    path = tmp_path / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "UNet2DConditionModel"}))
    assert refused(tmp_path).code == "invalid_weights"
