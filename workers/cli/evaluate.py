"""`certrad evaluate`: certified accuracy on a split of a data set."""

from argparse import Namespace
from collections.abc import Iterator
from typing import get_args

from certrad.models.types import TEMPLATE_PROMPT, SmoothingParams
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.smoothing import ALPHA_RANGE, N0_MIN, N_MAX, SIGMA_RANGE
from certrad.workers.cli.classifier import require_classifier_of_data
from certrad.workers.cli.common import add_adapter, add_json, backbone, dataset, require_card, require_prompt
from certrad.workers.cli.plot import plot_file, require_matplotlib
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import choice, existing, integer, number, path, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    defaults = SmoothingParams()
    parser.option("--task", dataset(), "data set; `folders` for your own images", required=True)
    parser.option(
        "--data",
        existing("file", "folder", metavar="DIR"),
        "folder or zip of the data set, or the folder that holds it",
        required=True,
    )
    parser.option("--split", choice("train", "val", "test"), "split of the data set", default="test")
    parser.option(
        "--images", integer(1, N_MAX), "number of images of the split, taken from the classes in turn", default=500
    )
    parser.option("--prompt", text("ID"), "learned prompt, or template", without="the task's default prompt")
    add_adapter(parser)
    parser.option(
        "--template",
        text("TEXT"),
        "text with one {} for the class name, with `--prompt template`",
        without="the data set's own",
    )
    parser.option(
        "--adaptation",
        choice("none", "zero_shot", "gated"),
        "adaptation of the prompt",
        without="as the service: gated with a bank, else none",
    )
    space = "image whose pixels get the noise: model_input, or image for the rendered one before its resize"
    parser.option("--noise-space", choice(*get_args(NoiseSpace)), space, default=DEFAULT_NOISE_SPACE)
    parser.option("--sigma", number(*SIGMA_RANGE), "noise standard deviation, pixels in [0, 1]", default=defaults.sigma)
    parser.option("--alpha", number(*ALPHA_RANGE), "failure probability of one certificate", default=defaults.alpha)
    parser.option("--n0", integer(N0_MIN, N_MAX), "number of samples that choose the class", default=defaults.n0)
    parser.option("--n", integer(N0_MIN, N_MAX), "number of samples that bound its probability", default=defaults.n)
    parser.option("--backbone", backbone(), "backbone", without="that of the prompt or data set")
    parser.option("--seed", integer(0, 2**63 - 1), "random seed of the choice of images and of the noise", default=0)
    parser.option("--out", path("TSV"), "table of the rows; an interrupted run goes on from it")
    parser.option("--plot", plot_file(), "plot of certified accuracy against radius to write")
    add_data_dir(parser)
    add_json(parser)
    parser.check(require_card("data set", "task", "--task"))
    parser.check(require_card("backbone", "backbone", "--backbone"))
    parser.check(require_prompt("prompt", "--prompt"))
    parser.check(require_matplotlib("plot"))
    parser.check(require_classifier_of_data)
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    if options.n0 is not None and options.n is not None and options.n0 > options.n:
        yield f"`--n0` must be at most `--n`, {options.n}; got {options.n0}"
    if options.template is not None and options.prompt not in (None, TEMPLATE_PROMPT):
        yield "`--template` goes with `--prompt template` only"


def run(options: Namespace) -> int:
    """Certifies the images, appends to the table, and prints.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import evaluation

    return evaluation.evaluate_data(options)
