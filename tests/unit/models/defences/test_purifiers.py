"""Defences are put together in order; rescaling, wavelet denoising and super-resolution keep to what is published."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers.models.swin2sr.configuration_swin2sr import Swin2SRConfig
from transformers.models.swin2sr.modeling_swin2sr import Swin2SRForImageSuperResolution

from certrad.models.attacks.pgd import PgdParams, adaptive_pgd
from certrad.models.defences.purifier import Backward, Purifier, compose, defend, straight_through
from certrad.models.defences.rescale import RandomResizing
from certrad.models.defences.super_resolution import WaveletDenoising, load_enlarger, super_resolution
from certrad.models.errors import Rejected
from tests.support.tiny_clip import random_tensors


class Affine:
    """A defence that multiplies and adds."""

    randomised = False

    def __init__(self, factor: float, summand: float, backward: Backward = "exact") -> None:
        self.name, self.factor, self.summand, self.backward = f"{factor:g}x+{summand:g}", factor, summand, backward

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return self.factor * pixels + self.summand


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int = 2, side: int = 32) -> Tensor:
    """Images without grain."""
    coarse = torch.rand(n, 3, 4, 4, generator=seeded(1))
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)


# -- together ---------------------------------------------------------------------------------------------------------


def test_of_several_defences_the_first_is_applied_first() -> None:
    both = compose(Affine(2, 0), Affine(1, 3))
    assert torch.equal(both(torch.ones(1, 3, 2, 2), seeded()), torch.full((1, 3, 2, 2), 5.0))
    assert both.name == "2x+0 + 1x+3"


def test_one_defence_without_a_gradient_or_with_a_draw_makes_the_whole_so() -> None:
    exact, bpda, random = Affine(1, 0), Affine(1, 0, "bpda"), RandomResizing(low=9, padded=10)
    assert [compose(exact, other).backward for other in (exact, bpda, random)] == ["exact", "bpda", "exact"]
    assert [compose(exact, other).randomised for other in (exact, bpda, random)] == [False, False, True]


def test_no_defence_at_all_cannot_be_composed() -> None:
    with pytest.raises(ValueError, match="at least one"):
        compose()


@pytest.mark.parametrize(("purifier", "value"), [(None, 1.0), (Affine(2, 1), 3.0)])
def test_a_defended_classifier_sees_the_purified_pixels(purifier: Purifier | None, value: float) -> None:
    classify = defend(purifier, lambda pixels: pixels.flatten(1)[:, :2])
    assert torch.equal(classify(torch.ones(4, 3, 2, 2), seeded()), torch.full((4, 2), value))


def test_a_defence_without_a_gradient_passes_on_that_of_its_result() -> None:
    pixels = smooth().requires_grad_(True)
    purified, upstream = smooth() ** 2, torch.randn(pixels.shape, generator=seeded())
    through = straight_through(pixels, purified)
    (gradient,) = torch.autograd.grad(through, pixels, upstream)
    assert torch.equal(through, purified)
    assert torch.equal(gradient, upstream)


def test_an_adaptive_attack_climbs_through_the_defences() -> None:
    weight = torch.randn(3, 3 * 16 * 16, generator=seeded(3))
    classify = defend(compose(WaveletDenoising(), RandomResizing.proportional(16)), lambda x: x.flatten(1) @ weight.T)
    images, labels = smooth(4, 16), torch.tensor([0, 1, 2, 0])
    pgd = adaptive_pgd(classify, PgdParams(epsilon=8 / 255, steps=5, start="two_sided"), eot_draws=2)
    attacked = pgd(images, labels, seeded())
    before, after = (F.cross_entropy(classify(x, seeded(4)), labels) for x in (images, attacked))
    assert after > before + 5


# -- random rescaling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "low", "padded"), [(299, 310, 331), (224, 232, 248), (64, 66, 71), (8, 8, 9)])
def test_the_published_proportions_are_kept_at_any_size(side: int, low: int, padded: int) -> None:
    assert RandomResizing.proportional(side) == RandomResizing(low=low, padded=padded)


def test_sides_of_the_whole_range_are_drawn_for_each_image_anew() -> None:
    white = torch.ones(400, 3, 32, 32)
    shrunk = RandomResizing(low=40, padded=44)(white, seeded()).mean(dim=(1, 2, 3))
    # The padding is black: what remains of white is the square of side / padded, up to the interpolation at its rim.
    sides = (shrunk.sqrt() * 44).round().int()
    assert shrunk.shape == (400,)
    # Each of four sides is missing from 400 draws with probability 0.75^400 < 1e-49.
    assert set(sides.tolist()) == {40, 41, 42, 43}


def test_the_place_of_the_image_in_its_padding_is_drawn() -> None:
    white = torch.ones(400, 3, 32, 32)
    corners = RandomResizing(low=24, padded=32)(white, seeded())[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    # A corner is covered with probability mean(1 / (33 - side)^2) = 0.067, and so never in 400 draws in 1e-12 of runs.
    assert (corners > 0.9).any(dim=0).all()
    assert (corners < 0.1).any(dim=0).all()


def test_rescaled_images_keep_size_and_range() -> None:
    rescaled = RandomResizing.proportional(32)(smooth(6), seeded())
    assert rescaled.shape == (6, 3, 32, 32)
    assert rescaled.min() >= 0
    assert rescaled.max() <= 1


def test_one_seed_is_one_rescaling() -> None:
    defence = RandomResizing(low=40, padded=60)
    first, again, other = (defence(smooth(6), seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_gradient_of_rescaling_is_exact() -> None:
    pixels = smooth(2, 8).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: RandomResizing(low=9, padded=12)(x, seeded()), (pixels,))


@pytest.mark.parametrize(("low", "padded"), [(0, 3), (5, 5), (6, 5)])
def test_sides_without_room_are_refused(low: int, padded: int) -> None:
    with pytest.raises(ValueError, match="low must be >= 1 and below padded"):
        RandomResizing(low=low, padded=padded)


# -- wavelets ---------------------------------------------------------------------------------------------------------


def test_wavelet_denoising_removes_most_of_the_noise() -> None:
    images = smooth(4)
    noisy = images + 0.1 * torch.randn(images.shape, generator=seeded())
    denoised = WaveletDenoising(sigma=0.1)(noisy, seeded())
    assert F.mse_loss(denoised, images) < 0.5 * F.mse_loss(noisy.clamp(0, 1), images)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0], ids=["black", "grey", "white"])
def test_an_image_of_one_colour_stays_what_it_is(value: float) -> None:
    flat = torch.full((1, 3, 32, 32), value)
    assert torch.allclose(WaveletDenoising()(flat, seeded()), flat, atol=1e-3)


def test_a_grey_image_stays_grey() -> None:
    grey = smooth()[:, :1].expand(-1, 3, -1, -1)
    denoised = WaveletDenoising(sigma=0.05)(grey, seeded())
    assert denoised.isfinite().all()
    assert (denoised - denoised[:, :1]).abs().max() < 0.01


def test_an_image_is_denoised_alike_whatever_is_beside_it() -> None:
    images = smooth(3)
    together = WaveletDenoising()(images, seeded())
    assert torch.equal(together[1:2], WaveletDenoising()(images[1:2], seeded()))


def test_wavelet_denoising_has_the_gradient_of_the_identity() -> None:
    pixels = smooth().requires_grad_(True)
    (gradient,) = torch.autograd.grad(WaveletDenoising()(pixels, seeded()).sum(), pixels)
    assert torch.equal(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("sigma", [0.0, 1.5, float("nan")])
def test_a_wavelet_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be in"):
        WaveletDenoising(sigma=sigma)


# -- super-resolution -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Swin2SRForImageSuperResolution:
    config = Swin2SRConfig(image_size=16, embed_dim=16, depths=[2], num_heads=[2], window_size=8, upscale=2)
    model = Swin2SRForImageSuperResolution(config)
    model.load_state_dict(random_tensors(model, 0))
    model.requires_grad_(False).train(False)
    return model


def write(directory: Path, model: Swin2SRForImageSuperResolution, **extra: Tensor) -> Path:
    tensors = {key: value.clone() for key, value in model.state_dict().items()} | extra
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(model.config.to_dict()))
    return directory


def test_the_enlarger_is_the_network_on_disk_and_the_way_back(
    tmp_path: Path, network: Swin2SRForImageSuperResolution
) -> None:
    old = {"swin2sr.encoder.stages.0.layers.0.attention.self.relative_position_index": torch.zeros(64, 64).long()}
    enlarger = load_enlarger(write(tmp_path, network, **old))
    images = smooth(2, 16)
    with torch.no_grad():
        enlarged = network(images).reconstruction.clamp(0, 1)
    expected = F.interpolate(enlarged, size=(16, 16), mode="bilinear", antialias=True)
    assert enlarger.name == "Swin2SR x2"
    assert torch.allclose(enlarger(images, seeded()), expected, atol=1e-6)


def test_a_side_that_is_no_multiple_of_the_window_comes_back_as_it_was(
    tmp_path: Path, network: Swin2SRForImageSuperResolution
) -> None:
    assert load_enlarger(write(tmp_path, network))(smooth(1, 20), seeded()).shape == (1, 3, 20, 20)


def test_super_resolution_is_wavelets_and_then_the_network(
    tmp_path: Path, network: Swin2SRForImageSuperResolution
) -> None:
    enlarger = load_enlarger(write(tmp_path, network))
    both, images = super_resolution(enlarger, sigma=0.2), smooth(1, 16)
    assert (both.name, both.backward, both.randomised) == ("wavelet 0.2 + Swin2SR x2", "bpda", False)
    assert torch.equal(both(images, seeded()), enlarger(WaveletDenoising(sigma=0.2)(images, seeded()), seeded()))
    assert super_resolution() == WaveletDenoising(sigma=0.02)


def test_a_network_with_a_foreign_layer_is_refused_and_the_layer_named(
    tmp_path: Path, network: Swin2SRForImageSuperResolution
) -> None:
    with pytest.raises(Rejected, match=r"foreign keys: extra\.weight") as caught:
        load_enlarger(write(tmp_path, network, **{"extra.weight": torch.zeros(3)}))
    assert caught.value.code == "invalid_weights"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_of_the_network_is_named(
    tmp_path: Path, network: Swin2SRForImageSuperResolution, name: str
) -> None:
    (write(tmp_path, network) / name).unlink()
    with pytest.raises(Rejected, match=name) as caught:
        load_enlarger(tmp_path)
    assert caught.value.code == "model_unavailable"
