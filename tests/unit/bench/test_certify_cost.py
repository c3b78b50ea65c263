"""`python -m certrad.bench certify-cost` times what the service runs, against a plain loop that classifies alike."""

import argparse
import platform
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from certrad.bench.common import plain_loop
from certrad.bench.common.architectures import load_clip
from certrad.bench.common.machine import this_machine
from certrad.bench.measure import certify_cost
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.prompts.context import template_features
from certrad.models.shipped import shipped_backbones, shipped_tasks


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    certify_cost.add_arguments(parser)
    return parser.parse_args(options)


def test_denormalise_inverts_normalise() -> None:
    pixels = torch.rand((2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    torch.testing.assert_close(plain_loop.denormalise(plain_loop.normalise(pixels, mean, std), mean, std), pixels)


def test_plain_loop_classifies_as_the_service_does(tmp_path: Path) -> None:
    task, card = shipped_tasks()["mednist"], shipped_backbones()["demo"]
    backbone = load_backbone(card, weights_directory(card, tmp_path))
    classifier = VisionLanguageClassifier(backbone, template_features(backbone, task.class_names, task.template))
    prompts = plain_loop.full_length_prompts(backbone, task.class_names, task.template)
    black, grey = torch.zeros((3, 64, 64)), torch.full((3, 64, 64), 0.5)
    expected = classifier.logits(torch.stack([black, grey])).argmax(dim=1).tolist()
    assert expected[0] != expected[1]  # else a loop that ignores the image would pass
    for image, label in zip((black, grey), expected, strict=True):
        counts = plain_loop.count_labels(
            load_clip(card, tmp_path),
            plain_loop.normalise(image[None], card.mean, card.std)[0],
            prompts,
            mean=card.mean,
            std=card.std,
            sigma=1e-6,
            n=101,
        )
        assert counts == [101 if place == label else 0 for place in range(len(task.class_names))]


def test_halves_are_scaled_to_all_samples_and_scaling_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certify_cost, "timed", lambda action, device: 1.0)
    options = ("--backbone", "demo", "--random-weights", "--n0", "10", "--n", "10", "--rounds", "1")
    cost = certify_cost.measure(parse(*options, "--bare-batch-sizes", "4", "8", "--baseline-samples", "16"))
    # Two halves of a second each for 16 and for 200 samples, scaled to 20, beside one second for the certificate.
    assert cost.bare_seconds == pytest.approx(2 / 16 * 20)
    assert cost.plain_seconds == pytest.approx(2 / 200 * 20)
    assert cost.overhead_ratio == pytest.approx(1 / 2.5)
    assert cost.speedup_vs_plain_loop == pytest.approx(0.2)
    assert "bare encoder passes measured on 16 samples and scaled to 20" in cost.notes
    assert "plain loop measured on 200 samples and scaled to 20" in cost.notes


def test_what_is_timed_runs() -> None:
    options = ("--backbone", "demo", "--random-weights", "--n0", "10", "--n", "10", "--batch-size", "10")
    work = certify_cost.workload(parse(*options), this_machine())
    seconds = certify_cost.time_round(work, bare_half=4, bare_batch_size=4, plain_half=4)
    assert min(seconds.certificate, seconds.bare, seconds.plain) > 0


def test_machine_is_described_without_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "workstation-of-jane-doe"
    named = platform.uname()._replace(node=name)
    monkeypatch.setattr(platform, "uname", lambda: named)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert platform.node() == name
    assert name not in str(asdict(this_machine()))
