"""`python -m bench <command> [options]`: every figure that the README or a card quotes comes from such a command."""

from __future__ import annotations

import argparse
import importlib

COMMANDS = {
    "certify-cost": ("bench.certify_cost", "what a certificate costs beside the encoder passes"),
    "certified-accuracy": ("bench.certified_accuracy", "certified accuracy of every prompt method"),
    "tune-demo-prompt": ("bench.tune_demo_prompt", "tune the few-shot prompt that is shipped"),
    "write-demo-cards": ("bench.write_demo_cards", "write measured figures into the shipped cards"),
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
