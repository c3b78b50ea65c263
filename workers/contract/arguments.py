"""The parser of every command of `certrad`, which reports all errors of the arguments at once."""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from certrad.workers.contract.option_kinds import Kind, path, text

Check = Callable[[argparse.Namespace], Iterable[str]]
_MINUS: Final = re.compile(r"-[0-9]")
_PASSED_OVER: Final = ("expected one argument", "needs a value")


class UsageError(Exception):
    """The arguments of a command are wrong; `problems` are sentences, one for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One option in words: its `usage` such as `--n N`, its help text, and its values with the default."""

    usage: str
    meaning: str
    facts: str


class Parser(argparse.ArgumentParser):
    """Parses one command: `option`, `flag` and `argument` declare its options, `check` its rules."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(
            prog=f"certrad {name}",
            description=f"{summary}.",
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.declarations: list[Declaration] = []
        self._required: list[tuple[str, str]] = []
        self._several: set[str] = set()
        self._problems: list[str] = []
        self._checks: list[Check] = []

    def option(
        self,
        flag: str,
        kind: Kind,
        meaning: str,
        *,
        default: object = None,
        without: str | None = None,
        required: bool = False,
    ) -> None:
        """Declares an option with a value.

        Args:
            flag: The name, with the dashes.
            kind: The values it takes.
            meaning: The help text, beginning with a noun or a verb.
            default: The value of an option that is not given.
            without: The effect of an option that is not given, if `default` does not say it.
            required: Whether an option that is not given is an error.
        """
        if required:
            self._required.append((flag.lstrip("-").replace("-", "_"), flag))
            without = "required"
        elif without is None and default is not None:
            without = f"default: {_default_text(default)}"
        elif without is not None:
            without = f"default: {without}"
        facts = "; ".join(filter(None, (kind.values, without)))
        self.declarations.append(Declaration(usage=f"{flag} {kind.metavar}", meaning=meaning, facts=facts))
        self.add_argument(
            flag,
            type=self._reader(flag, kind),
            default=default,
            metavar=kind.metavar,
            help=_escaped(f"{meaning} ({facts})" if facts else meaning),
        )

    def flag(self, flag: str, meaning: str) -> None:
        """Declares an option without a value."""
        name = flag.lstrip("-").replace("-", "_")
        self.declarations.append(Declaration(usage=flag, meaning=meaning, facts=""))
        self.add_argument(flag, action="store_true", dest=name, help=_escaped(meaning))

    def argument(self, name: str, kind: Kind, meaning: str, *, many: bool = False, optional: bool = False) -> None:
        """Declares an argument without a name, required unless it is `optional`; `many` gives a list."""
        of_few = kind.metavar.startswith("{")
        usage, values = (name.upper(), kind.metavar) if of_few else (kind.metavar, kind.values)
        if not optional:
            self._required.append((name, usage))
        self.declarations.append(Declaration(usage=usage, meaning=meaning, facts=values))
        if many:
            self._several.add(name)
        self.add_argument(
            name,
            type=self._reader(usage, kind),
            nargs="*" if many else "?",
            metavar=usage,
            help=_escaped(f"{meaning} ({values})" if values else meaning),
        )

    def check(self, rule: Check) -> None:
        """Adds a rule about several options: it yields a sentence for each error. A wrong option is None there."""
        self._checks.append(rule)

    def format_usage(self) -> str:
        """Returns the usage: the required arguments, and a mark that there are options."""
        must = " ".join(self._usage_of(action) for action in self._actions if self._must(action))
        return f"usage: {' '.join(filter(None, (self.prog, must)))} [OPTIONS]\n"

    def format_help(self) -> str:
        """Returns the help: usage, summary, arguments and options."""
        _, _, rest = super().format_help().partition("\n\n")
        return f"{self.format_usage()}\n{rest}"

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Returns the options of a command.

        Raises:
            UsageError: Some are wrong; it lists every error. `SystemExit` ends a command whose help was printed.
        """
        self._problems = []
        try:
            options, extras = self.parse_known_intermixed_args(_joined(arguments))
        except argparse.ArgumentError as error:
            what = error.message.replace(*_PASSED_OVER)
            raise UsageError([*self._problems, f"`{error.argument_name}` {what}"]) from None
        self._problems += [f"{extra!r} is not an option or argument of `{self.prog}`" for extra in extras]
        for dest, usage in self._required:
            if not self._given(options, dest, usage):
                self._problems.append(f"`{usage}` is missing")
        for rule in self._checks:
            self._problems += rule(options)
        if self._problems:
            raise UsageError(self._problems)
        return options

    def _given(self, options: argparse.Namespace, dest: str, usage: str) -> bool:
        wrong = any(problem.startswith(f"`{usage}` ") for problem in self._problems)
        return wrong or getattr(options, dest) not in (None, [])

    def _reader(self, usage: str, kind: Kind) -> Callable[[str], object]:
        """Returns the function with which argparse reads a value; it collects errors, so that all come at once."""

        def read(text: str) -> object:
            try:
                return kind.read(text)
            except ValueError as problem:
                self._problems.append(f"`{usage}` {problem}; got {text!r}")
                return None

        return read

    def _must(self, action: argparse.Action) -> bool:
        return not action.option_strings or action.dest in {dest for dest, _ in self._required}

    def _usage_of(self, action: argparse.Action) -> str:
        if action.option_strings:
            return f"{action.option_strings[0]} {action.metavar}"
        optional = action.dest not in {dest for dest, _ in self._required}
        dots = "..." if action.dest in self._several else ""
        return f"[{action.metavar}]" if optional else f"{action.metavar}{dots}"


def _joined(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with each value that begins with a minus and a digit joined to its option.

    Without it, argparse takes the -600,1500 of `--window -600,1500` for an option.
    """
    joined: list[str] = []
    for argument in arguments:
        if _MINUS.match(argument) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _default_text(default: object) -> str:
    return ",".join(f"{value:g}" for value in default) if isinstance(default, tuple) else str(default)


def _escaped(words: str) -> str:
    return words.replace("%", "%%")


def add_data_dir(parser: Parser) -> None:
    """Declares `--data-dir`."""
    parser.option(
        "--data-dir",
        path("DIR"),
        "folder of everything the service keeps",
        without="CERTRAD_DATA_DIR, else certrad-data in the working directory",
    )


def add_host(parser: Parser) -> None:
    """Declares `--host`."""
    parser.option(
        "--host",
        text("ADDRESS"),
        "address to listen on; on any but a loopback one every request needs an API key",
        default="127.0.0.1",
    )
