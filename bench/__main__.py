"""`python -m certrad.bench <command> [options]`: the figures of the documentation and the cards."""

import argparse
import importlib
from typing import Final

COMMANDS: Final = {
    "adapter": ("certrad.bench.measure.adapter", "certified accuracy with and without an adapter of the image encoder"),
    "audit": ("certrad.bench.measure.audit", "attacks on what every mode certified, and the contradictions they found"),
    "autoattack-agreement": (
        "certrad.bench.measure.autoattack_agreement",
        "AutoAttack's parts beside those of its authors' code",
    ),
    "audit-cost": ("certrad.bench.measure.audit_cost", "what the audit trail adds to a call of the API"),
    "auto-sigma": (
        "certrad.bench.measure.auto_sigma",
        "certified radii of automatic sigma beside those of every fixed one",
    ),
    "certify-cost": ("certrad.bench.measure.certify_cost", "what a certificate costs beside the encoder passes"),
    "gpu": ("certrad.bench.measure.gpu", "noise and encoder on a GPU; without one, the bytes that would be moved"),
    "cost-curves": (
        "certrad.bench.measure.cost_curves",
        "how the cost of a certificate grows with image side, classes, samples and engines",
    ),
    "head-ceiling": (
        "certrad.bench.measure.head_ceiling",
        "what any head behind the frozen encoder reaches, beside the gated bank",
    ),
    "gate-cost": ("certrad.bench.measure.gate_cost", "what the gate of a bank costs per sample beside the encoder"),
    "certified-accuracy": ("certrad.bench.measure.certified_accuracy", "certified accuracy of every prompt method"),
    "reproduce": ("certrad.bench.reproduce.command", "the tables and figures of the two papers, measured again"),
    "instruction-sets": (
        "certrad.bench.measure.instruction_sets",
        "how far logits move between the instruction sets of a processor",
    ),
    "job-bytes": ("certrad.bench.measure.job_bytes", "the memory of Redis that a certificate takes, and for how long"),
    "load": ("certrad.bench.measure.load", "the API under load: polls, uploads at once, event streams, its memory"),
    "noise-space": (
        "certrad.bench.measure.noise_space",
        "noise in the image's own grey levels against noise in the model input",
    ),
    "encoder-paths": (
        "certrad.bench.measure.encoder_paths",
        "the image encoder on a CPU by PyTorch, torch.compile, int8 and OpenVINO",
    ),
    "noise-laws": ("certrad.bench.measure.noise_laws", "what a noisy pixel costs under each noise law"),
    "shortcut": ("certrad.bench.measure.shortcut", "class shares of real and test images against the background level"),
    "window-noise": (
        "certrad.bench.measure.window_noise",
        "what noise on the window shows, and attacks within the windows that it covers",
    ),
    "window-box": ("certrad.bench.measure.window_box", "images whose class holds for every window of a box"),
    "batch-sizes": (
        "certrad.bench.measure.batch_sizes",
        "what a sample of the encoder costs on a CPU, by batch size and threads",
    ),
    "calibrate-prompt": (
        "certrad.bench.demo.calibrate_prompt",
        "adapt the few-shot prompt to a pool of unlabelled images",
    ),
    "unknown": (
        "certrad.bench.measure.unknown",
        "images of no class that are certified as one, with and without an adapter",
    ),
    "rejection-curve": (
        "certrad.bench.measure.rejection_curve",
        "what the extra class of a bank costs on known images and gains on unknown ones",
    ),
    "train-adapter": ("certrad.bench.demo.train_adapter", "train the adapter of the demo that is shipped"),
    "tune-bank": ("certrad.bench.demo.tune_bank", "tune the bank of prompts and the gate that are shipped"),
    "sequential-cost": (
        "certrad.bench.measure.sequential_cost",
        "samples that a target radius saves, and certificates it loses",
    ),
    "tune-demo-prompt": (
        "certrad.bench.demo.tune_prompt",
        "tune a prompt as the service does, with the seconds it takes",
    ),
    "tune-sigma-selector": (
        "certrad.bench.demo.tune_sigma_selector",
        "tune the selector of automatic sigma that is shipped",
    ),
    "waiting-threads": (
        "certrad.bench.measure.waiting_threads",
        "what a sample costs on a busy machine, by how threads wait",
    ),
    "write-demo-cards": ("certrad.bench.demo.write_cards", "write measured figures into the shipped cards"),
    "peers": (
        "certrad.bench.measure.peers",
        "certificates beside those of CERTIFY's authors' code and of ART, and their cost",
    ),
    "service-overhead": (
        "certrad.bench.measure.service_overhead",
        "what the service adds to the sampling of a certificate, hop by hop",
    ),
    "selftest-references": (
        "certrad.bench.selftest.references",
        "the stored references of the self-test: known answers, features and label counts",
    ),
    "scale": ("certrad.bench.measure.scale", "one certificate over several engines, real and simulated, up to 64"),
    "prediction-sets": (
        "certrad.bench.measure.prediction_sets",
        "coverage of prediction sets, clean and attacked, beside two other ways to make them",
    ),
    "process-memory": (
        "certrad.bench.measure.process_memory",
        "the memory of every process of a service that has made certificates",
    ),
    "start-up": ("certrad.bench.measure.start_up", "what it takes until a process of the API answers"),
    "page-pictures": ("certrad.bench.docs.page_pictures", "screenshots of the page, for the documentation"),
    "picture": ("certrad.bench.docs.picture", "an SVG of what a command prints, for the documentation"),
    "report-pages": (
        "certrad.bench.docs.report_pages",
        "the example pages of docs/reports.md, about a phantom",
    ),
    "reference": ("certrad.bench.docs.reference", "the tables of docs/ that follow from the code"),
    "command-reference": (
        "certrad.bench.demo.command_reference",
        "docs/commands.md: every command and option, from their declarations",
    ),
    "command-start": (
        "certrad.bench.measure.command_start",
        "processor seconds of a usage error and of the help of every command",
    ),
    "install": ("certrad.bench.measure.install_cost", "what a bare clone costs until it has shown the demonstration"),
}
"""Command -> module with `add_arguments` and `run`, and what it is for."""


def main() -> None:
    """Runs one command; only its own module is imported."""
    listing = "\n".join(f"  {name:22}{purpose}" for name, (_, purpose) in COMMANDS.items())
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m certrad.bench", description=f"commands:\n{listing}", formatter_class=raw
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="see `python -m certrad.bench <command> --help`")
    chosen = parser.parse_args()
    module = importlib.import_module(COMMANDS[chosen.command][0])
    own = argparse.ArgumentParser(
        prog=f"python -m certrad.bench {chosen.command}", description=module.__doc__, formatter_class=raw
    )
    module.add_arguments(own)
    module.run(own.parse_args(chosen.options))


if __name__ == "__main__":
    main()
