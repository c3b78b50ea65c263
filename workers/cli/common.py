"""Options that several commands share: the data directory, names of cards, prompts."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

from certrad.models.installed import CardError, Cards, own_cards
from certrad.models.shipped import shipped_adapters
from certrad.models.types import TEMPLATE_PROMPT
from certrad.models.types.request import NO_ADAPTER
from certrad.models.types.tuning import PROMPT_NAME
from certrad.workers.contract.arguments import Check, Parser
from certrad.workers.contract.option_kinds import Kind, text

_FOLDERS: Final = {"backbone": "backbones/specs", "task": "tasks", "data set": "datasets/cards"}


def add_json(parser: Parser) -> None:
    """Declares `--json`."""
    parser.flag("--json", "print machine-readable output")


def add_adapter(parser: Parser) -> None:
    """Declares `--adapter`, with the rule that the adapter must be shipped or in the data directory."""
    parser.option(
        "--adapter",
        text("ID"),
        "adapter of the image encoder, or none for the frozen one",
        without="the prompt's own, else the task's, else none",
    )
    parser.check(_require_adapter)


def _require_adapter(options: Namespace) -> Iterator[str]:
    name: str | None = options.adapter
    if name is None or name == NO_ADAPTER:
        return
    there = [NO_ADAPTER, *shipped_adapters(), *_stored("adapters", options.data_dir)]
    if name not in there:
        yield f"`--adapter` must be one of {', '.join(there)}; got {name!r}"


def task() -> Kind:
    """Returns the kind of tasks; `require_card` checks the name."""
    return _card("tasks", own="a task of your own")


def backbone() -> Kind:
    """Returns the kind of backbones; `require_card` checks the name."""
    return _card("backbones/specs", own="a backbone of your own")


def dataset() -> Kind:
    """Returns the kind of data sets and of tasks of one's own; `require_card` checks the name."""
    return _card("datasets/cards", own="a task of your own")


def prompt_name() -> Kind:
    """Returns the kind of names that a new prompt may have."""

    def read(given: str) -> str:
        if not PROMPT_NAME.fullmatch(given):
            raise ValueError("must be 1 to 64 lowercase letters, digits, dots, dashes and underscores")
        return given

    return Kind(read=read, metavar="NAME")


def require_card(kind: Literal["backbone", "task", "data set"], dest: str, usage: str) -> Check:
    """Returns the rule that a card must be shipped or, unless it is of a data set, in the data directory.

    A task of one's own stands for its images, too, where a data set is asked for.

    Args:
        kind: What the option names.
        dest: The name of the option in the parsed ones.
        usage: The name of the option to a reader.
    """

    def problems(options: Namespace) -> Iterator[str]:
        name: str | None = getattr(options, dest)
        shipped = _names(_FOLDERS[kind])
        if name is None or name in shipped:
            return
        try:
            own = own_cards_of(options.data_dir)
        except CardError as error:
            yield str(error)
            return
        there = [*shipped, *(own.backbones if kind == "backbone" else own.tasks)]
        if name not in there:
            yield f"`{usage}` must be one of {', '.join(there)}; got {name!r}"

    return problems


def own_cards_of(data_dir: Path | None) -> Cards:
    """Returns the operator's own cards in a data directory.

    Args:
        data_dir: The data directory; None for that of the environment.

    Raises:
        CardError: A card cannot be used.
    """
    from certrad.workers.offline.settings import settings_of  # pydantic: only where a card of one's own is named
    from certrad.workers.settings import WorkerSettings

    settings = settings_of(WorkerSettings, data_dir)
    return own_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)


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
        there = [*_names("demo/prompts"), *_stored("prompts", options.data_dir)]
        if name not in there:
            choices = ", ".join([TEMPLATE_PROMPT] * template + there)
            yield f"`{usage}` must be one of {choices}; got {name!r}"

    return problems


def _card(folder: str, *, own: str) -> Kind:
    return Kind(read=str, metavar="ID", values=f"one of {', '.join(_names(folder))}, or {own}")


def _names(folder: str) -> Sequence[str]:
    """Returns the ids of the cards in a folder of the package, which are the names of their files."""
    directory = files("certrad.models").joinpath(folder)
    return sorted(entry.name.removesuffix(".json") for entry in directory.iterdir() if entry.name.endswith(".json"))


def _stored(folder: str, data_dir: Path | None) -> Sequence[str]:
    """Returns the ids of the cards in a folder of the data directory."""
    from certrad.workers.contract.settings import SharedSettings  # pydantic: only where a prompt is named

    directory = (data_dir or SharedSettings().data_dir) / folder
    return sorted(card.stem for card in directory.glob("*.json"))
