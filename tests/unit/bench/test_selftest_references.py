"""The stored references can be made again: words, normals and images exactly, the rest within the tolerances."""

import io

import numpy as np
import pydicom
import pytest
import torch

from certrad.bench.selftest.phantom import phantom
from certrad.bench.selftest.references import make_references
from certrad.models.selftest.band import bands
from certrad.models.selftest.facts import PHANTOM
from certrad.models.selftest.references import References, read_references


@pytest.fixture(scope="module")
def again() -> References:
    return make_references(PHANTOM.read_bytes(), samples=64)


def test_facts_are_made_again(again: References) -> None:
    stored = read_references().facts
    for name in ("words", "noise_key", "stream", "indices", "sigma", "task", "prompt"):
        assert getattr(again.facts, name) == getattr(stored, name)
    for name in ("phantom_sha256", "pixels_sha256", "input_sha256"):
        assert getattr(again.facts, name) == getattr(stored, name)


def test_tensors_are_made_again(again: References) -> None:
    stored = read_references()
    assert torch.equal(again.images, stored.images)
    assert torch.equal(again.phantom, stored.phantom)
    for law, normals in stored.normals.items():
        assert again.normals[law].numpy() == pytest.approx(normals.numpy(), abs=1e-14)
    assert torch.allclose(again.features, stored.features, atol=1e-3)
    assert torch.allclose(again.text_features, stored.text_features, atol=1e-3)


def test_counts_are_made_again_within_the_band(again: References) -> None:
    found, stored = again.facts.counts, read_references().facts.counts
    assert all(number in band for number, band in zip(found, bands(stored, 64), strict=True))


def test_the_phantom_is_drawn_again() -> None:
    stored, drawn = pydicom.dcmread(PHANTOM), pydicom.dcmread(io.BytesIO(phantom()))
    assert np.array_equal(stored.pixel_array, drawn.pixel_array)
    assert (stored.PatientID, stored.WindowCenter) == ("CERTRAD-SELF-TEST", 40)


def test_references_outlive_a_round_trip_byte_for_byte() -> None:
    stored = read_references()
    assert stored.to_bytes() == stored.to_bytes()
    assert read_references().facts == stored.facts
