"""`certrad audit`: attacks certified images inside their radius and certifies the results."""

from argparse import Namespace

from certrad.models.types import SmoothingParams
from certrad.models.types.smoothing import N0_MIN, N_MAX, SIGMA_RANGE
from certrad.workers.cli.classifier import require_classifier
from certrad.workers.cli.common import add_adapter, add_json, backbone, require_card, require_prompt, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import existing, integer, number, path, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    n0, sigma = SmoothingParams().n0, SmoothingParams().sigma
    parser.option("--images", existing("folder", metavar="DIR"), "folder of images", required=True)
    parser.option("--task", task(), "task that names the classes", default="mednist")
    parser.option("--backbone", backbone(), "backbone", without="that of the prompt or task")
    parser.option("--prompt", text("ID"), "learned prompt", without="the task's default prompts")
    add_adapter(parser)
    parser.option("--sigma", number(*SIGMA_RANGE), "noise standard deviation, pixels in [0, 1]", default=sigma)
    parser.option("--n", integer(max(n0, N0_MIN), N_MAX), "number of samples of each certificate", default=1000)
    parser.option(
        "--modes",
        text("NAME,..."),
        "modes to audit, such as few-shot/none or window_box, separated by commas",
        without="all of a radius",
    )
    parser.option("--targets", integer(1, 999), "number of classes each image is attacked towards", default=1)
    parser.option("--limit", integer(1), "number of images to audit: the first by name", without="all")
    parser.option("--journal", path(), "file from which an interrupted run goes on")
    parser.option(
        "--processes", integer(1, 64), "number of processes of one thread each", without="one for each processor"
    )
    parser.option("--seed", integer(0, 2**63 - 1), "random seed of the noise", default=0)
    add_data_dir(parser)
    add_json(parser)
    parser.check(require_card("task", "task", "--task"))
    parser.check(require_card("backbone", "backbone", "--backbone"))
    parser.check(require_prompt("prompt", "--prompt", template=False))
    parser.check(require_classifier())


def run(options: Namespace) -> int:
    """Audits and prints.

    Returns:
        The exit code: 0 if no guarantee is contradicted, 1 if one is.
    """
    from certrad.workers.offline import audit

    return audit.audit_images(options)
