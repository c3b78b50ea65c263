"""`certrad adapt-encoder`: trains an adapter that makes the image encoder robust to noise, on unlabelled images."""

from argparse import Namespace
from collections.abc import Iterator

from certrad.models.types.smoothing import SIGMA_RANGE
from certrad.workers.cli.common import backbone, prompt_name, require_card, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import existing, integer, number


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    images = existing("folder", metavar="DIR")
    parser.option("--images", images, "folder of images without labels; never certify one of them", required=True)
    parser.option("--backbone", backbone(), "backbone whose image encoder is adapted", default="demo")
    parser.option("--name", prompt_name(), "name of the new adapter", without="the id of the backbone")
    parser.option(
        "--task", task(), "task whose window presets DICOM files are read with", without="the backbone's, or mednist"
    )
    parser.option("--limit", integer(1, 100_000), "number of images to take: the first by name", default=3_000)
    parser.option("--steps", integer(1, 100_000), "number of training steps", default=800)
    parser.option("--rank", integer(1, 256), "rank of the changes of the weights", default=8)
    parser.option("--sigma-low", number(*SIGMA_RANGE), "least noise level to train for", default=0.1)
    parser.option("--sigma-high", number(*SIGMA_RANGE), "greatest noise level to train for", default=1.1)
    parser.option("--seed", integer(0, 2**63 - 1), "random seed of the choice of images and of the noise", default=0)
    parser.flag("--resume", "continue an interrupted training of the same name")
    add_data_dir(parser)
    parser.check(require_card("backbone", "backbone", "--backbone"))
    parser.check(require_card("task", "task", "--task"))
    parser.check(_ordered_sigmas)


def run(options: Namespace) -> int:
    """Trains and stores the adapter, and prints its card.

    Returns:
        The exit code.
    """
    from certrad.workers.offline.encoder_adapter import adapt_encoder

    return adapt_encoder(options)


def _ordered_sigmas(options: Namespace) -> Iterator[str]:
    if options.sigma_low > options.sigma_high:
        yield f"`--sigma-low` must not be above `--sigma-high`; got {options.sigma_low:g} and {options.sigma_high:g}"
