"""`certrad prompts bank`: tunes a bank of prompts and its gate on a site's labelled images."""

from argparse import Namespace
from collections.abc import Iterator
from typing import get_args

from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.tuning import Acquisition
from certrad.workers.cli.common import add_adapter, prompt_name, require_card, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import choice, existing, integer, number, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    images = existing("folder", metavar="DIR")
    parser.option("--images", images, "folder with one folder of images for each class", required=True)
    parser.option("--name", prompt_name(), "name of the new bank", required=True)
    parser.option("--task", task(), "task whose classes the folders hold", default="mednist")
    add_adapter(parser)
    parser.option(
        "--template",
        text("TEXT"),
        "text with one {} for the class name; the words before it are one of the starts",
        without="the task's own template",
    )
    parser.option("--shots", integer(1, 10_000), "number of images of each class to learn from", default=16)
    parser.option("--copies", integer(1, 10_000), "number of noisy copies of each image at every level", default=128)
    parser.option("--seed", integer(0, 2**63 - 1), "random seed of the choice of images and of the noise", default=0)
    parser.option(
        "--acquisition",
        choice(*get_args(Acquisition)),
        "changes of window, background and frame of every copy",
        default="none",
    )
    parser.option(
        "--rejection",
        number(0.001, 0.01),
        "add a class for images unlike those the bank is tuned on; the share of noisy known samples that may get it",
        without="no such class",
    )
    space = "image whose pixels get the noise; with image, all images must have one size"
    parser.option("--noise-space", choice(*get_args(NoiseSpace)), space, default=DEFAULT_NOISE_SPACE)
    add_data_dir(parser)
    parser.check(require_card("task", "task", "--task"))
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    if options.rejection is not None and options.noise_space != DEFAULT_NOISE_SPACE:
        yield "`--rejection` needs noise on the model input, for which its threshold is set"


def run(options: Namespace) -> int:
    """Stores the bank, publishes it if the service runs, and prints its card.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import bank, prompts

    return prompts.make(bank.tune_bank_prompt, options)
