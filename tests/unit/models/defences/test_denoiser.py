"""The DnCNN of Denoised Smoothing has the published architecture, training and files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from certrad.models.baselines.denoiser_training import DenoiserParams, DenoiserState, train, train_epochs
from certrad.models.defences.denoiser import DnCnn, load_denoiser, save_denoiser
from certrad.models.errors import Rejected

SIGMA = 0.25
PARAMS = DenoiserParams(sigma=SIGMA, epochs=4, batch_size=8, depth=4, channels=16, lr_epochs=3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int = 32, side: int = 16) -> Tensor:
    coarse = torch.rand(n, 3, 3, 3, generator=seeded(1))
    return F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)


def brightness(pixels: Tensor) -> Tensor:
    """Logits of three classes, one for each channel."""
    return 10 * pixels.mean(dim=(2, 3))


def weight(model: DnCnn, place: int) -> Tensor:
    """The weight of the convolution at a place of the network."""
    layer = model.noise[place]
    assert isinstance(layer, nn.Conv2d)
    return layer.weight


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# -- architecture -----------------------------------------------------------------------------------------------------


def test_the_network_is_the_published_dncnn() -> None:
    model = DnCnn()
    norms = [layer for layer in model.noise if isinstance(layer, nn.BatchNorm2d)]
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.noise) == 17
    assert [(norm.eps, norm.momentum, norm.num_features) for norm in norms] == [(1e-4, 0.95, 64)] * 15
    # 3·64·9 + 64, fifteen times 64·64·9 + 2·64, and 64·3·9
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_792 + 15 * 36_992 + 1_728


def test_a_fresh_denoiser_changes_nothing() -> None:
    model, noisy = DnCnn().initialise(seeded()), smooth(2) + torch.randn(2, 3, 16, 16, generator=seeded())
    assert torch.equal(model(noisy), noisy)


def test_inner_convolutions_start_orthogonal() -> None:
    flat = weight(DnCnn().initialise(seeded()), 2).flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(64), atol=1e-5)


def test_what_the_network_predicts_is_taken_off() -> None:
    model = DnCnn(3, 4).initialise(seeded()).train(False)
    nn.init.normal_(weight(model, -1), generator=seeded())
    noisy = smooth(2)
    assert model.noise(noisy).abs().max() > 0.1
    assert torch.allclose(model(noisy), noisy - model.noise(noisy))


# -- training ---------------------------------------------------------------------------------------------------------


def test_the_learning_rate_falls_tenfold_every_thirty_epochs() -> None:
    params = DenoiserParams(sigma=SIGMA)
    rates = [params.learning_rate(epoch) for epoch in (0, 29, 30, 59, 60, 89)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_the_noise_it_is_trained_on_has_its_sigma_and_is_not_clipped() -> None:
    white = torch.ones(8, 3, 32, 32)
    state = next(train_epochs(white.__getitem__, 8, replace(PARAMS, lr=1e-12)))
    # A fresh denoiser changes nothing: its loss is sigma², over 24,576 values known to 0.9%.
    assert state.loss == pytest.approx(SIGMA**2, rel=0.06)


def test_training_removes_noise_from_images_it_has_not_seen() -> None:
    images = smooth(40)
    model = train(images[:32].__getitem__, 32, replace(PARAMS, epochs=12, lr=5e-3, lr_epochs=12))
    noisy = images[32:] + SIGMA * torch.randn(8, 3, 16, 16, generator=seeded(5))
    assert F.mse_loss(model(noisy), images[32:]) < 0.4 * F.mse_loss(noisy, images[32:])


def test_stability_learns_to_keep_the_answers_of_the_classifier() -> None:
    params = replace(PARAMS, objective="stability", epochs=8, lr=5e-3, lr_epochs=8)
    of_a_corner = train_epochs(smooth().__getitem__, 32, params, logits=lambda x: brightness(x[..., :1, :1]))
    losses = [state.loss for state in of_a_corner]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("objective", "logits"), [("stability", None), ("mse", brightness)])
def test_a_classifier_goes_with_stability_and_with_nothing_else(objective: str, logits: object) -> None:
    params = replace(PARAMS, objective=objective)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stability"):
        next(train_epochs(smooth().__getitem__, 32, params, logits=logits))  # type: ignore[arg-type]


def test_one_seed_is_one_denoiser() -> None:
    images = smooth()
    first, again, other = (train(images.__getitem__, 32, replace(PARAMS, epochs=1, seed=s)) for s in (0, 0, 1))
    assert equal(first, again)
    assert not equal(first, other)


def test_a_training_that_is_resumed_ends_as_if_it_had_never_stopped() -> None:
    images = smooth()
    states: list[DenoiserState] = []
    whole = train(images.__getitem__, 32, PARAMS, on_epoch=states.append)
    stopped = DenoiserState.from_bytes(states[1].to_bytes())
    resumed = train(images.__getitem__, 32, PARAMS, resume=stopped)
    assert [state.epoch for state in states] == [1, 2, 3, 4]
    assert equal(whole, resumed)


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(Rejected, match="invalid_checkpoint"):
        DenoiserState.from_bytes(b"not safetensors")


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"sigma": 0.0}, "sigma"), ({"objective": "l1"}, "objective"), ({"epochs": 0}, "epochs"), ({"lr": 0.0}, "lr")],
)
def test_parameters_out_of_range_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PARAMS, **fields)  # type: ignore[arg-type]


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model() -> DnCnn:
    model = DnCnn(4, 16).initialise(seeded())
    nn.init.normal_(weight(model, -1), generator=seeded())
    return model.train(False)


def test_a_denoiser_comes_back_from_its_file_as_it_was(tmp_path: Path, model: DnCnn) -> None:
    card = save_denoiser(tmp_path, model, name="mse", sigma=SIGMA, training={"seed": 0})
    loaded, read = load_denoiser(tmp_path, card.id)
    assert read == card
    assert (read.sigma, read.depth, read.channels) == (SIGMA, 4, 16)
    assert torch.equal(loaded(smooth(2)), model(smooth(2)))


def test_a_denoiser_whose_file_changed_is_refused(tmp_path: Path, model: DnCnn) -> None:
    card = save_denoiser(tmp_path, model, name="mse", sigma=SIGMA, training={})
    path = tmp_path / f"{card.id}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Rejected, match="digest_mismatch"):
        load_denoiser(tmp_path, card.id)


def test_a_card_of_another_architecture_is_refused(tmp_path: Path, model: DnCnn) -> None:
    card = save_denoiser(tmp_path, model, name="mse", sigma=SIGMA, training={})
    path = tmp_path / f"{card.id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depth": 5}))
    with pytest.raises(Rejected, match="invalid_weights"):
        load_denoiser(tmp_path, card.id)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, model: DnCnn, suffix: str) -> None:
    card = save_denoiser(tmp_path, model, name="mse", sigma=SIGMA, training={})
    (tmp_path / f"{card.id}{suffix}").unlink()
    with pytest.raises(Rejected, match=f"model_unavailable.*{suffix}"):
        load_denoiser(tmp_path, card.id)
