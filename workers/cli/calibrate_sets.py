"""`certrad calibrate-sets`: makes or tests a calibration of prediction sets on a site's labelled images."""

from argparse import Namespace
from collections.abc import Iterator
from typing import Final

from certrad.models.types.calibration import BETA_RANGE, SITE_MAX
from certrad.models.types.smoothing import N_MAX, SIGMA_RANGE, SmoothingParams
from certrad.workers.cli.common import add_adapter, prompt_name, require_card, require_prompt, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import Kind, existing, integer, number, text

_DEFAULTS: Final[dict[str, str | float]] = {
    "name": "sets",
    "site": "",
    "task": "mednist",
    "sigma": SmoothingParams().sigma,
    "n": 1000,
    "beta": 0.05,
    "poisoned": 0,
}
"""What a new calibration gets where an option is not given; a test takes all of it from the calibration."""
_OF_NEW_ONES: Final = ("name", "site", "task", "prompt", "adapter", "sigma", "n", "pooled", "poisoned")


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    images = existing("folder", metavar="DIR")
    parser.option("--images", images, "folder with one folder of labelled images for each class", required=True)
    parser.option("--name", prompt_name(), "name of the new calibration", without=_default("name"))
    parser.option("--site", _site(), "site, scanner and protocol of the images, for the card", without="none")
    parser.option("--task", task(), "task whose classes the folders hold", without=_default("task"))
    parser.option("--prompt", text("ID"), "prompt id, or template", without="the task's default prompt")
    add_adapter(parser)
    parser.option(
        "--sigma", number(*SIGMA_RANGE), "noise level of the sets, in pixels of [0, 1]", without=_default("sigma")
    )
    parser.option("--n", integer(1, N_MAX), "number of noisy samples of each image", without=_default("n"))
    parser.option(
        "--beta",
        number(*BETA_RANGE),
        "share of images whose list may miss their class",
        without=f"{_default('beta')}; with --check the calibration's own",
    )
    parser.flag("--pooled", "make one threshold for all classes together, not one for each class")
    parser.option(
        "--poisoned",
        integer(0, 100_000),
        "number of images that somebody may have replaced, at most",
        without=_default("poisoned"),
    )
    parser.option(
        "--check", text("ID"), "test this calibration on the images instead, which must be new", without="none"
    )
    parser.option("--radius", number(0, 8), "L2 norm of the changes that tested lists allow for", default=0.0)
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

    if options.check is None:
        for name, default in _DEFAULTS.items():
            if getattr(options, name) is None:
                setattr(options, name, default)
    return calibrate_sets(options)


def _site() -> Kind:
    def read(given: str) -> str:
        if not (given.isprintable() and len(given) <= SITE_MAX):
            raise ValueError(f"must be at most {SITE_MAX} printable characters")
        return given

    return Kind(read=read, metavar="TEXT")


def _default(name: str) -> str:
    return str(_DEFAULTS[name])


def _one_purpose(options: Namespace) -> Iterator[str]:
    if options.check is None and options.radius:
        yield "`--radius` goes with `--check` only; a request for a set names its own radius"
    if options.check is not None:
        for name in _OF_NEW_ONES:
            if getattr(options, name) not in (None, False):
                yield f"`--{name}` does not go with `--check`, which takes it from the calibration"
