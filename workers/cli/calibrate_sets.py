"""`certrad calibrate-sets`: makes or tests a calibration of prediction sets on a site's labelled images."""

from argparse import Namespace
from collections.abc import Iterator

from certrad.models.types.calibration import BETA_RANGE, SITE_MAX
from certrad.models.types.smoothing import N_MAX, SIGMA_RANGE
from certrad.workers.cli.common import add_adapter, prompt_name, require_card, require_prompt, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import Kind, existing, integer, number, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    images = existing("folder", metavar="DIR")
    parser.option("--images", images, "folder with one folder of labelled images for each class", required=True)
    parser.option("--name", prompt_name(), "name of the new calibration", without="sets")
    parser.option("--site", _site(), "site, scanner and protocol of the images, for the card", default="")
    parser.option("--task", task(), "task whose classes the folders hold", default="mednist")
    parser.option("--prompt", text("ID"), "prompt id, or template", without="the task's default prompt")
    add_adapter(parser)
    parser.option("--sigma", number(*SIGMA_RANGE), "noise level of the sets, in pixels of [0, 1]", default=0.5)
    parser.option("--n", integer(1, N_MAX), "number of noisy samples of each image", default=1000)
    parser.option("--beta", number(*BETA_RANGE), "share of images whose set may miss their class", default=0.05)
    parser.flag("--pooled", "make one threshold for all classes together, not one for each class")
    parser.option(
        "--poisoned", integer(0, 100_000), "number of images that somebody may have replaced, at most", default=0
    )
    parser.option(
        "--check", text("ID"), "test this calibration on the images instead, which must be new", without="none"
    )
    parser.option("--radius", number(0, 8), "L2 norm of the changes that tested sets allow for", default=0.0)
    add_data_dir(parser)
    parser.check(require_card("task", "task", "--task"))
    parser.check(require_prompt("prompt", "--prompt"))
    parser.check(_one_purpose)


def run(options: Namespace) -> int:
    """Makes or tests the calibration, and prints it.

    Returns:
        The exit code.
    """
    from certrad.workers.offline.calibration_sets import calibrate_sets

    options.name = options.name or "sets"
    return calibrate_sets(options)


def _site() -> Kind:
    def read(given: str) -> str:
        if not (given.isprintable() and len(given) <= SITE_MAX):
            raise ValueError(f"must be at most {SITE_MAX} printable characters")
        return given

    return Kind(read=read, metavar="TEXT")


def _one_purpose(options: Namespace) -> Iterator[str]:
    if options.check is None and options.radius:
        yield "`--radius` goes with `--check` only; a request for a set names its own radius"
