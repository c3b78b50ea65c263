"""The device decides the noise law and the batch size."""

import pytest
import torch

from certrad.models.smoothing.device import default_batch_size, noise_law


@pytest.mark.parametrize(
    ("device", "law", "batch_size"),
    [
        ("cpu", "philox-ziggurat-f64", 64),
        ("cuda", "philox-boxmuller-f64", 256),
        ("cuda:1", "philox-boxmuller-f64", 256),
    ],
)
def test_noise_law_and_batch_size_of_a_device(device: str, law: str, batch_size: int) -> None:
    assert noise_law(torch.device(device)) == law
    assert default_batch_size(torch.device(device)) == batch_size
