"""The parser of every command tells all errors at once, and each kind of value says what it expects."""

from argparse import Namespace
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from certrad.models.shipped import shipped_backbones, shipped_tasks
from certrad.models.types import Region
from certrad.workers.cli.common import _names
from certrad.workers.contract.arguments import Parser, UsageError
from certrad.workers.contract.commands import COMPUTING, find
from certrad.workers.contract.option_kinds import Kind, choice, existing, integer, number, numbers, path, region, text


def parser() -> Parser:
    made = Parser("test", "Do a test")
    made.argument("files", existing("file"), "files", many=True)
    made.option("--task", text("ID"), "task", required=True)
    made.option("--n", integer(1, 5), "number of things", default=3)
    made.flag("--json", "print JSON")
    return made


def problems(*arguments: str) -> tuple[str, ...]:
    with pytest.raises(UsageError) as raised:
        parser().parse(arguments)
    return raised.value.problems


def test_options_and_arguments_may_be_mixed() -> None:
    options = parser().parse([__file__, "--task", "a", __file__, "--json"])
    assert options == Namespace(files=[Path(__file__)] * 2, task="a", n=3, json=True)


@pytest.mark.parametrize("given", [["--window", "-600,1500"], ["--window=-600,1500"]])
def test_a_value_may_begin_with_a_minus(given: list[str]) -> None:
    made = parser()
    made.option("--window", text("WINDOW"), "window")
    options = made.parse([__file__, "--task", "a", *given, "--n", "2", __file__])
    assert (options.window, options.n, options.files) == ("-600,1500", 2, [Path(__file__)] * 2)
    with pytest.raises(UsageError, match="must be a whole number"):
        made.parse([__file__, "--task", "a", "--n", "-2"])


def test_every_error_is_told_at_once() -> None:
    assert problems("/nowhere", "--n", "9", "--bogus") == (
        "`--n` must be a whole number, 1 to 5; got '9'",
        "`FILE` must be an existing file; got '/nowhere'",
        "'--bogus' is not an option or argument of `certrad test`",
        "`--task` is missing",
    )


def test_what_is_missing_or_too_much_is_told_by_its_name() -> None:
    assert problems("--task", "a") == ("`FILE` is missing",)
    assert problems(__file__, "--n", "0", "--task") == (
        "`--n` must be a whole number, 1 to 5; got '0'",
        "`--task` needs a value",
    )


def test_a_name_is_not_cut_short() -> None:
    assert "'--tas' is not an option or argument of `certrad test`" in problems(__file__, "--tas", "a", "--task", "b")


def test_rules_see_the_values_and_their_sentences_come_with_the_others() -> None:
    made = parser()

    def rule(options: Namespace) -> Iterator[str]:
        if options.n == 5:
            yield "`--n` must not be 5 here"

    made.check(rule)
    with pytest.raises(UsageError) as raised:
        made.parse(["--n", "5", __file__])
    assert raised.value.problems == ("`--task` is missing", "`--n` must not be 5 here")


def test_help_says_what_is_required_which_values_there_are_and_the_default() -> None:
    words = " ".join(parser().format_help().split())
    assert words.startswith("usage: certrad test FILE... --task ID [OPTIONS] Do a test.")
    assert "number of things (1 to 5; default: 3)" in words
    assert "task (required)" in words


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (integer(0), "7", 7),
        (number(0, 1), "1e-3", 0.001),
        (numbers(0, 1), "0.25,1", (0.25, 1.0)),
        (choice("a", "b"), "b", "b"),
        (path(), "new/file", Path("new/file")),
        (region(), "1,2,30,40", Region(x=1, y=2, w=30, h=40)),
    ],
)
def test_values_are_read(kind: Kind, given: str, value: object) -> None:
    assert kind.read(given) == value


@pytest.mark.parametrize(
    ("kind", "wrong", "expected"),
    [
        (integer(0), "1.5", "must be a whole number, at least 0"),
        (number(0, 1, above=True), "0", "must be a number, above 0, up to 1"),
        (number(0, 1), "nan", "must be a number, 0 to 1"),
        (numbers(0, 1), "0.5,", "must be numbers of 0 to 1, separated by commas"),
        (choice("a", "b"), "c", "must be one of a, b"),
        (existing("folder"), __file__, "must be an existing folder"),
        (region(), "1,2,0,4", "must be x,y,w,h"),
        (region(), "1,2,3", "must be x,y,w,h"),
    ],
)
def test_other_values_are_refused_with_what_was_expected(kind: Kind, wrong: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        kind.read(wrong)


def test_cards_are_called_by_the_names_of_their_files() -> None:
    assert _names("tasks") == sorted(shipped_tasks())
    assert _names("backbones/specs") == sorted(shipped_backbones())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["prompts", "bank", "-x"], "prompts bank"), (["keys", "list"], "keys"), (["prompts"], None), ([], None)],
)
def test_a_command_is_found_by_one_word_or_two(arguments: list[str], name: str | None) -> None:
    assert find(arguments, COMPUTING) == name


@pytest.mark.parametrize("name", COMPUTING)
def test_a_help_text_begins_with_a_word_that_means_something(name: str) -> None:
    """No genitive without its noun, and no sentence that goes on from the name of the option."""
    made = Parser(name, COMPUTING[name].summary)
    import_module(COMPUTING[name].module).add_arguments(made)
    for action in made._actions:
        first = str(action.help).split()[0]
        assert first not in {"of", "its", "that", "what", "as", "on", "in", "from", "likewise"}, action.option_strings
