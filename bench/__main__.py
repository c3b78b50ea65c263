"""`python -m bench <command> [options]`: every figure that the README or a card quotes comes from such a command."""

from __future__ import annotations

import argparse
import importlib

COMMANDS = {
    "audit": ("bench.measure.audit", "attacks on what every mode certified, and the contradictions they found"),
    "autoattack-agreement": (
        "bench.measure.autoattack_agreement",
        "AutoAttack's parts beside those of its authors' code",
    ),
    "auto-sigma": ("bench.measure.auto_sigma", "certified radii of automatic sigma beside those of every fixed one"),
    "certify-cost": ("bench.measure.certify_cost", "what a certificate costs beside the encoder passes"),
    "head-ceiling": (
        "bench.measure.head_ceiling",
        "what any head behind the frozen encoder reaches, beside the gated bank",
    ),
    "gate-cost": ("bench.measure.gate_cost", "what the gate of a bank costs per sample beside the encoder"),
    "certified-accuracy": ("bench.measure.certified_accuracy", "certified accuracy of every prompt method"),
    "reproduce": ("bench.reproduce.command", "the tables and figures of the two papers, measured again"),
    "noise-space": (
        "bench.measure.noise_space",
        "noise in the image's own grey levels against noise in the model input",
    ),
    "calibrate-prompt": ("bench.demo.calibrate_prompt", "adapt the few-shot prompt to a pool of unlabelled images"),
    "tune-bank": ("bench.demo.tune_bank", "tune the bank of prompts and the gate that are shipped"),
    "sequential-cost": (
        "bench.measure.sequential_cost",
        "samples that a target radius saves, and certificates it loses",
    ),
    "tune-demo-prompt": ("bench.demo.tune_prompt", "tune a prompt as the service does, with the seconds it takes"),
    "tune-sigma-selector": ("bench.demo.tune_sigma_selector", "tune the selector of automatic sigma that is shipped"),
    "waiting-threads": ("bench.measure.waiting_threads", "what a sample costs on a busy machine, by how threads wait"),
    "write-demo-cards": ("bench.demo.write_cards", "write measured figures into the shipped cards"),
    "start-up": ("bench.measure.start_up", "what it takes until a process of the API answers"),
    "install": ("bench.measure.install_cost", "what a bare clone costs until it has shown the demonstration"),
}
"""Command -> module with `add_arguments` and `run`, and what it is for."""


def main() -> None:
    """Run one command; only its own module is imported."""
    listing = "\n".join(f"  {name:20}{purpose}" for name, (_, purpose) in COMMANDS.items())
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m bench", description=f"commands:\n{listing}", formatter_class=raw)
    parser.add_argument("command", choices=COMMANDS, metavar="command")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see `python -m bench <command> --help`")
    chosen = parser.parse_args()
    module = importlib.import_module(COMMANDS[chosen.command][0])
    own = argparse.ArgumentParser(
        prog=f"python -m bench {chosen.command}", description=module.__doc__, formatter_class=raw
    )
    module.add_arguments(own)
    module.run(own.parse_args(chosen.options))


if __name__ == "__main__":
    main()
