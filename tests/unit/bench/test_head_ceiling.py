"""`python -m certrad.bench head-ceiling` certifies a network on noisy features beside the bank, on the same noise."""

import argparse
import json
from pathlib import Path

import torch

from certrad.bench.measure import head_ceiling
from certrad.models.smoothing.accuracy import Share
from tests.support.mednist_zip import write_mednist_zip


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    head_ceiling.add_arguments(parser)
    return parser.parse_args(options)


def test_both_heads_are_certified_at_every_sigma(tmp_path: Path) -> None:
    write_mednist_zip(tmp_path / "mednist.zip", images_per_class=2)
    out = tmp_path / "ceiling.json"
    files = ("--data", str(tmp_path / "mednist.zip"), "--out", str(out))
    small = ("--training-images", "6", "--copies", "2", "--steps", "3", "--images", "6", "--n0", "10", "--n", "10")
    head_ceiling.run(parse(*files, *small))
    document = json.loads(out.read_text())
    rows = [(row["head"], row["sigma"]) for row in document["rows"]]
    assert rows == [("gated bank", 0.25), ("noisy probe", 0.25), ("gated bank", 0.5), ("noisy probe", 0.5)]
    assert document["settings"]["training_images"] == document["settings"]["images"] == 6
    assert len(out.with_suffix(".md").read_text().splitlines()) == 2 + len(rows)


def test_a_probe_learns_what_tells_noisy_features_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    centres = torch.eye(3, 8)[labels]
    features = torch.stack([(centres + s * torch.randn((120, 8), generator=generator)) for s in (0.05, 0.1)])
    directions = torch.nn.functional.normalize(features, dim=-1).unsqueeze(2)
    arguments = parse("--data", "unused", "--out", "unused", "--steps", "300", "--hidden", "16")
    probes = head_ceiling.trained(directions, labels, 3, arguments)
    for sigma, seen in zip(probes, directions, strict=True):
        answers = probes[sigma].logits_of_features(seen[:, 0] * 5).argmax(-1)  # the length of a feature counts nothing
        assert (answers == labels).float().mean() > 0.95


def test_the_table_shows_percent() -> None:
    shares = tuple(Share.of(hits, 4) for hits in (4, 4, 3, 2, 1, 0))
    row = head_ceiling.Row(head="gated bank", sigma=0.5, noisy_samples=0.9631, certified_accuracy=shares)
    assert head_ceiling.as_markdown([row]).splitlines()[-1] == (
        "| 0.5 | gated bank | 96.3 | 100.0 | 100.0 | 75.0 | 50.0 | 25.0 | 0.0 |"
    )
