"""`python -m certrad.bench unknown`: images of no class that are certified as one."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest
import torch

from certrad.bench.common.classifier import default_encoder
from certrad.bench.common.unknown_images import UNKNOWN, Shown, unknown_images
from certrad.bench.measure import unknown
from certrad.bench.measure.unknown import Found, as_markdown, summarise
from certrad.models.images.input_digests import input_digests
from certrad.models.shipped import SHIPPED_ADAPTERS, SHIPPED_PROMPTS, shipped_backbones, shipped_tasks

TASK = shipped_tasks()["mednist"]


def answer(label: int, class_index: int | None, radius: float = 0.0, sigma: float = 0.5) -> Found:
    return Found(
        file="file", label=label, sigma=sigma, method="frozen template", class_index=class_index, radius=radius
    )


def test_a_certificate_of_an_unknown_image_counts_at_its_radius_and_an_abstention_nowhere() -> None:
    unknown_ones = [answer(UNKNOWN, 0, 0.1), answer(UNKNOWN, 3, 0.25), answer(UNKNOWN, 3, 0.45), answer(UNKNOWN, None)]
    near = [answer(2, 2, 0.1), answer(2, 1, 0.4), answer(2, None)]
    (row,) = summarise([*unknown_ones, *near])
    assert (row.unknown, row.as_known) == (4, (3, 2, 1))
    assert (row.near, row.right, row.wrong) == (3, 1, 1)
    assert "| 0.5 | frozen template | 75.0 | 50.0 | 25.0 | 1 of 3 | 1 of 3 |" in as_markdown([row])


def test_no_image_is_shown_twice_and_those_of_a_class_are_not_unknown() -> None:
    shown = unknown_images(shipped_backbones()["demo"], TASK)
    digests = input_digests(torch.stack([image.pixels for image in shown]))
    assert len(set(digests)) == len(digests) > 60
    near = [image for image in shown if image.label != UNKNOWN]
    assert [TASK.class_names[image.label] for image in near if image.file == "693_J2KR.dcm"] == ["head CT"]
    files = {image.file for image in shown if image.label == UNKNOWN}
    assert "astronaut.png" in files
    assert "693_UNCR.dcm" not in files  # the pixels of 693_J2KR.dcm


def test_both_towers_answer_for_every_image_and_sigma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = default_encoder(torch.float32).image_size
    images = [
        Shown(
            file=f"{label}", label=label, pixels=torch.rand(3, side, side, generator=torch.Generator().manual_seed(9))
        )
        for label in (0, UNKNOWN)
    ]
    monkeypatch.setattr(unknown, "unknown_images", lambda *_: images)
    adapter = TASK.default_adapter
    parser = ArgumentParser()
    unknown.add_arguments(parser)
    options = ["--adapter", str(SHIPPED_ADAPTERS / f"{adapter}.safetensors"), "--out", str(tmp_path / "out.json")]
    samples = ["--n0", "10", "--n", "20", "--batch-size", "10", "--sigmas", "0.5", "--dtype", "float32"]
    unknown.run(parser.parse_args([*options, *samples, "--prompts", str(SHIPPED_PROMPTS)]))
    document = json.loads((tmp_path / "out.json").read_text())
    methods = [row["method"] for row in document["rows"]]
    assert {"frozen template", "adapted template", "adapted few_shot", "adapted gated"} <= set(methods)
    assert all((row["unknown"], row["near"]) == (1, 1) for row in document["rows"])
    assert len(document["found"]) == 2 * len(methods)
    assert "adapted template" in (tmp_path / "out.md").read_text()
