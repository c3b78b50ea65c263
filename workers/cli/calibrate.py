"""`certrad prompts calibrate`: adapts a prompt to a site's unlabelled images."""

from argparse import Namespace

from certrad.models.types.smoothing import SIGMA_RANGE
from certrad.workers.cli.common import add_adapter, prompt_name, require_card, require_prompt, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import existing, integer, numbers, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    images = existing("folder", metavar="DIR")
    parser.option("--images", images, "folder of images without labels; never certify one of them", required=True)
    parser.option("--name", prompt_name(), "name of the new prompt", required=True)
    parser.option("--task", task(), "task that names the classes", default="mednist")
    parser.option("--prompt", text("ID"), "prompt to start from, or template", without="the task's own prompt")
    add_adapter(parser)
    parser.option("--sigmas", numbers(*SIGMA_RANGE), "noise levels to adapt to", default=(0.25, 0.5))
    parser.option("--limit", integer(1, 100_000), "number of images to adapt to: the first by name", default=512)
    parser.option("--seed", integer(0, 2**63 - 1), "random seed of the noise", default=0)
    add_data_dir(parser)
    parser.check(require_card("task", "task", "--task"))
    parser.check(require_prompt("prompt", "--prompt"))


def run(options: Namespace) -> int:
    """Stores the adapted prompt, publishes it if the service runs, and prints its card.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import calibration, prompts

    return prompts.make(calibration.calibrate_prompt, options)
