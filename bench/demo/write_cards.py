"""Writes the figures of `certified-accuracy` into the cards of the shipped prompts and of the embedded backbone.

python -m certrad.bench write-demo-cards --accuracy accuracy.json
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from certrad.bench.demo.files import write_json
from certrad.models.prompts.checkpoint import prompt_path, read_prompt_card, write_card
from certrad.models.shipped import SHIPPED_PROMPTS

DEMO: Final = Path(__file__).parents[2] / "models" / "demo"
OF_CHECKPOINT: Final = {
    "few_shot": ("few_shot", "combined"),
    "coop": ("coop",),
    "calibrated": ("calibrated",),
    "gated": ("gated",),
}
"""Method of a checkpoint -> the methods whose figures belong on its card."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--accuracy", type=Path, required=True, help="what certified-accuracy wrote")
    parser.add_argument("--backbone-card", type=Path, default=DEMO / "backbone.card.json")
    parser.add_argument("--prompts", type=Path, default=SHIPPED_PROMPTS)


def run(arguments: argparse.Namespace) -> None:
    """Writes every card that the figures belong to; raises ValueError where a card is of other weights."""
    accuracy = json.loads(arguments.accuracy.read_text(encoding="utf-8"))
    settings = accuracy["settings"]
    backbone = json.loads(arguments.backbone_card.read_text(encoding="utf-8"))
    _require(backbone["weights"]["sha256"], settings["backbone_sha256"])
    write_json(arguments.backbone_card, {**backbone, "measured": measured(accuracy)})
    for method, prompt_id in settings["checkpoints"].items():
        card = read_prompt_card(prompt_path(arguments.prompts, prompt_id).with_suffix(".json"))
        _require(card.backbone_sha256, settings["backbone_sha256"])
        write_card(arguments.prompts, replace(card, measured=measured(accuracy, OF_CHECKPOINT[method])))


def measured(accuracy: Mapping[str, Any], methods: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The figures of some methods, or of all, each with its number of images."""
    settings, clean = accuracy["settings"], accuracy["clean_accuracy"]

    def of_methods(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [_in_short(result) for result in results if methods is None or result["method"] in methods]

    return {
        "command": "python -m certrad.bench certified-accuracy",
        "data": "MedNIST, test split",
        "data_sha256": settings["data_sha256"],
        "alpha": accuracy["alpha"],
        "n0": settings["n0"],
        "bound": accuracy["bound"],
        "checkpoints": settings["checkpoints"],
        "clean_accuracy": {
            "images": clean["images"],
            **{name: value for name, value in clean["accuracy"].items() if methods is None or name in methods},
        },
        "certified_accuracy": of_methods(accuracy["results"]),
        "check": of_methods(accuracy["check"]),
    }


def _in_short(result: Mapping[str, Any]) -> dict[str, Any]:
    """One result without its intervals, which follow from the number of images."""
    return {
        "method": result["method"],
        "scope": result["scope"],
        "sigma": result["sigma"],
        "n": result["n"],
        "images": result["images"],
        "clean": round(result["clean_accuracy"]["value"], 4),
        "noisy_samples": round(result["noisy_sample_accuracy"], 4),
        "abstained": round(result["abstained"]["value"], 4),
        "at_radius": {
            r: round(share["value"], 4) for r, share in result["certified_accuracy"].items() if share["value"]
        },
    }


def _require(of_card: str, of_figures: str) -> None:
    if of_card != of_figures:
        raise ValueError(f"the figures are of the weights {of_figures}, the card of {of_card}")
