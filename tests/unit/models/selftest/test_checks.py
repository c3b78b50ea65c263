"""Every check of the self-test passes on this machine, and fails by its name when its fact is broken."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.models.backbones.base import EMBEDDED, EMBEDDED_ID, Backbone, load_backbone
from certrad.models.selftest import checks
from certrad.models.selftest.checks import DeviceCheck, check_features, check_noise_words, check_normals, count_labels
from certrad.models.selftest.facts import REFERENCES, ReferencesError
from certrad.models.selftest.outcome import CheckFailedError, run_check
from certrad.models.selftest.references import References, read_references
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import NoisySampler, Stream
from certrad.models.smoothing.noise import CPU_LAWS, Noise, boxmuller
from certrad.models.types.selftest import SelfTestCheck

CPU = torch.device("cpu")
KEY = bytes(range(32))
DEVICE_CHECKS = ["noise_words", "normals", "weights", "features", "counts"]


@pytest.fixture(scope="module")
def references() -> References:
    return read_references()


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load()


def load(directory: Path = EMBEDDED, dtype: torch.dtype = torch.float32) -> Backbone:
    return load_backbone(shipped_backbones()[EMBEDDED_ID], directory, dtype=dtype)


def run(references: References, load: Callable[[], Backbone], samples: int = 32) -> list[SelfTestCheck]:
    return list(
        DeviceCheck(
            references=references,
            device=CPU,
            load=load,
            batch_size=32,
            samples=samples,
            key=KEY,
            clock=time.monotonic,
        ).run()
    )


def failed(made: list[SelfTestCheck]) -> list[str]:
    return [check.name for check in made if not check.ok]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_this_machine_passes_in_every_precision(references: References, dtype: torch.dtype) -> None:
    made = run(references, lambda: load(dtype=dtype))
    assert [check.name for check in made] == DEVICE_CHECKS
    assert failed(made) == []


def test_a_wrong_word_of_any_generator_is_found(references: References, backbone: Backbone) -> None:
    words = references.facts.words
    for kind in ("4x32", "4x64", "aes128"):
        index = next(place for place, known in enumerate(words) if known.kind == kind)
        wrong = replace(words[index], words=("0", *words[index].words[1:]))
        facts = replace(references.facts, words=(*words[:index], wrong, *words[index + 1 :]))
        with pytest.raises(CheckFailedError, match=f"^{kind} of counter"):
            check_noise_words(replace(references, facts=facts), CPU)


def test_a_device_whose_integers_are_wrong_fails(
    references: References, monkeypatch: pytest.MonkeyPatch, backbone: Backbone
) -> None:
    def broken(*arguments: tuple[object, ...]) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(1, dtype=torch.int64),) * 4

    monkeypatch.setattr(checks, "philox4x32", broken)
    assert failed(run(references, lambda: backbone)) == ["noise_words"]


def test_normals_in_float32_are_found_though_they_round_to_the_same_pixels(
    references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "boxmuller", lambda *arguments: boxmuller(*arguments).float().double())
    with pytest.raises(CheckFailedError, match=r"philox-boxmuller-f64: normals differ by up to [0-9.]+e-0[78]"):
        check_normals(references, CPU)


def test_a_normal_of_the_aes_law_that_differs_in_its_last_bit_is_found(
    references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = CPU_LAWS["aes128ctr-boxmuller-f64"]

    def off(key: bytes, stream: Stream, indices: range, d: int) -> Iterator[NDArray[np.float64]]:
        for normals in honest(key, stream, indices, d):
            normals[0] = np.nextafter(normals[0], np.inf)
            yield normals

    monkeypatch.setattr(checks, "CPU_LAWS", {**CPU_LAWS, "aes128ctr-boxmuller-f64": off})
    with pytest.raises(CheckFailedError, match="aes128ctr-boxmuller-f64: normals have other bits"):
        check_normals(references, CPU)


def test_a_noisy_pixel_two_grid_steps_away_is_found(references: References, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NoisySampler.batch

    def off(sampler: NoisySampler, stream: Stream, start: int) -> torch.Tensor:
        pixels = honest(sampler, stream, start)
        pixels[0, 0, 0, 0] += 2 / 255 if start == 0 else 0
        return pixels

    monkeypatch.setattr(NoisySampler, "batch", off)
    with pytest.raises(CheckFailedError, match="1 noisy pixels by up to 2 grid steps"):
        check_normals(references, CPU)


def test_other_weights_are_found(references: References, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "demo")
    weights = tmp_path / "demo" / "backbone.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    made = run(references, lambda: load(tmp_path / "demo"))
    assert failed(made) == ["weights"]
    assert [check.name for check in made] == ["noise_words", "normals", "weights"]
    assert "digest_mismatch" in made[-1].detail


def test_other_features_are_found(references: References, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = backbone.encode_image

    def off(pixels: torch.Tensor) -> torch.Tensor:
        found = honest(pixels)
        return torch.add(found, 0.1 * found.norm(dim=-1, keepdim=True) / found.shape[-1] ** 0.5)

    monkeypatch.setattr(backbone, "encode_image", off)
    with pytest.raises(CheckFailedError, match=r"least cosine of an image feature is 0\.99"):
        check_features(references, backbone)


def test_features_that_are_no_numbers_are_found(
    references: References, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = backbone.encode_image
    monkeypatch.setattr(backbone, "encode_image", lambda pixels: honest(pixels) * float("nan"))
    assert failed(run(references, lambda: backbone)) == ["features", "counts"]


def test_other_text_features_are_found(references: References, backbone: Backbone) -> None:
    other = replace(references, text_features=references.text_features.roll(1, dims=0))
    with pytest.raises(CheckFailedError, match="text feature"):
        check_features(other, backbone)


def test_counts_of_another_image_are_outside_the_band(references: References, backbone: Backbone) -> None:
    other = replace(references, phantom=references.phantom * 0)
    with pytest.raises(CheckFailedError, match=r"class \d occurred \d+ times in 64 samples"):
        checks.check_counts(other, backbone, KEY, batch_size=32, samples=64)


def test_samples_are_rounded_up_to_whole_batches(references: References, backbone: Backbone) -> None:
    head = checks._head(references, backbone)
    found = count_labels(
        head.classifier(backbone, 0.5), references.phantom.numpy(), 0.5, Noise(KEY), batch_size=8, samples=9
    )
    assert sum(found) == 16


def test_a_check_that_raises_anything_has_failed() -> None:
    def out_of_memory() -> str:
        raise RuntimeError("CUDA out of memory\nmore words")

    check = run_check("counts", out_of_memory, lambda: 0.0)
    assert (check.ok, check.detail) == (False, "RuntimeError: CUDA out of memory")


@pytest.mark.parametrize("length", [0, 7, 100, 5000])
def test_references_that_are_cut_off_are_told(tmp_path: Path, length: int) -> None:
    damaged = tmp_path / "references.safetensors"
    damaged.write_bytes(REFERENCES.read_bytes()[:length])
    with pytest.raises(ReferencesError, match="the references of the self-test cannot be read"):
        read_references(damaged)
