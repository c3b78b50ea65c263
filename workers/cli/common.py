"""Options that several commands share: the data directory, names of cards, prompts."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from certrad.models.types import TEMPLATE_PROMPT
from certrad.models.types.tuning import PROMPT_NAME
from certrad.workers.contract.arguments import Check, Parser
from certrad.workers.contract.option_kinds import Kind, known


def add_json(parser: Parser) -> None:
    """Declares `--json`."""
    parser.flag("--json", "print machine-readable output")


def task() -> Kind:
    """Returns the kind of tasks."""
    return _card("tasks")


def backbone() -> Kind:
    """Returns the kind of backbones."""
    return _card("backbones/specs")


def dataset() -> Kind:
    """Returns the kind of data sets."""
    return _card("datasets/cards")


def prompt_name() -> Kind:
    """Returns the kind of names that a new prompt may have."""

    def read(given: str) -> str:
        if not PROMPT_NAME.fullmatch(given):
            raise ValueError("must be 1 to 64 lowercase letters, digits, dots, dashes and underscores")
        return given

    return Kind(read=read, metavar="NAME")


def require_prompt(dest: str, usage: str, *, template: bool = True) -> Check:
    """Returns the rule that a prompt must be shipped or in the data directory.

    Args:
        dest: The name of the option in the parsed ones.
        usage: The name of the option to a reader.
        template: Whether `template` is one too.
    """

    def problems(options: Namespace) -> Iterator[str]:
        name: str | None = getattr(options, dest)
        if name is None or (template and name == TEMPLATE_PROMPT):
            return
        there = [*_names("demo/prompts"), *_stored(options.data_dir)]
        if name not in there:
            choices = ", ".join([TEMPLATE_PROMPT] * template + there)
            yield f"`{usage}` must be one of {choices}; got {name!r}"

    return problems


def _card(folder: str) -> Kind:
    names = _names(folder)
    return known("ID", lambda: names, values=f"one of {', '.join(names)}")


def _names(folder: str) -> Sequence[str]:
    """Returns the ids of the cards in a folder of the package, which are the names of their files."""
    directory = files("certrad.models").joinpath(folder)
    return sorted(entry.name.removesuffix(".json") for entry in directory.iterdir() if entry.name.endswith(".json"))


def _stored(data_dir: Path | None) -> Sequence[str]:
    """Returns the ids of the prompts in the data directory."""
    from certrad.workers.contract.settings import SharedSettings  # pydantic: only where a prompt is named

    directory = (data_dir or SharedSettings().data_dir) / "prompts"
    return sorted(card.stem for card in directory.glob("*.json"))
