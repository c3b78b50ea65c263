"""`certrad attack`: attacks images without and with knowledge of the prompt."""

from argparse import Namespace
from collections.abc import Iterator
from fractions import Fraction

from certrad.workers.cli.classifier import require_classifier
from certrad.workers.cli.common import add_adapter, add_json, backbone, require_card, require_prompt, task
from certrad.workers.contract.arguments import Parser, add_data_dir
from certrad.workers.contract.option_kinds import Kind, choice, existing, integer, path, text


def add_arguments(parser: Parser) -> None:
    """Declares the options."""
    sources = existing("file", "folder", metavar="FILE|DIR")
    parser.argument("paths", sources, "image files, or one folder; a folder for each class gives accuracies", many=True)
    parser.option("--task", task(), "task that names the classes", default="mednist")
    parser.option("--backbone", backbone(), "backbone", without="that of the prompt or task")
    parser.option("--prompt", text("ID"), "learned prompt, or template", without="the task's default prompt")
    add_adapter(parser)
    parser.option("--attack", choice("pgd10", "pgd40", "autoattack"), "attack", default="pgd40")
    parser.option("--epsilon", _fraction(), "largest change of a value", without="as the attack was published")
    parser.option(
        "--iterations", integer(1, 10_000), "iterations of AutoAttack; fewer make a reduced attack", without="100"
    )
    parser.option(
        "--queries",
        integer(1, 1_000_000),
        "queries of AutoAttack's Square; fewer make a reduced attack",
        without="5000",
    )
    parser.option(
        "--limit", integer(1, 1_000_000), "number of images to attack, of each class: the first by name", without="all"
    )
    parser.option("--out", path("DIR"), "folder to write the attacked images to, as PNG")
    parser.option("--seed", integer(0, 2**63 - 1), "random seed", default=0)
    add_data_dir(parser)
    add_json(parser)
    parser.check(require_card("task", "task", "--task"))
    parser.check(require_card("backbone", "backbone", "--backbone"))
    parser.check(require_prompt("prompt", "--prompt"))
    parser.check(require_classifier())
    parser.check(_rules)


def _rules(options: Namespace) -> Iterator[str]:
    if options.attack not in (None, "autoattack"):
        for name in ("iterations", "queries"):
            if getattr(options, name) is not None:
                yield f"`--{name}` goes with `--attack autoattack` only"
    paths = [given for given in options.paths if given is not None]
    if len(paths) > 1 and any(given.is_dir() for given in paths):
        yield f"`FILE|DIR` must be files, or one folder; got {len(paths)} paths with a folder among them"


def _fraction() -> Kind:
    """Returns the kind of fractions of the pixel range, written in grey levels as the papers do.

    Raises:
        ValueError: In `read`, if the text is no such fraction.
    """

    def read(given: str) -> float:
        try:
            epsilon = float(Fraction(given))
        except (ValueError, ArithmeticError):
            epsilon = 0.0
        if not 1 / 255 <= epsilon <= 1:
            raise ValueError("must be 1/255 to 1, written such as 16/255")
        return epsilon

    return Kind(read=read, metavar="N/255", values="1/255 to 1")


def run(options: Namespace) -> int:
    """Attacks the images and prints the report.

    Returns:
        The exit code.
    """
    from certrad.workers.offline import attack

    return attack.attack_images(options)
