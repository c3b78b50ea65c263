"""The rules of the connector: which image becomes which request, and which one is left alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal

Choice = Literal["all", "middle", "first"]
Output = Literal["sr", "sc"]

DEFAULT_DESTINATION: Final = "pacs"
"""The name of the PACS that the images come from."""

NO_RULE: Final = "no rule matches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The attributes of a series that rules look at; empty where the file has none."""

    modality: str = ""
    body_part: str = ""
    station: str = ""
    series_description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Patterns, by attribute of `Header`: every attribute must match one of its patterns."""

    patterns: Mapping[str, Sequence[str]]

    def matches(self, header: Header) -> bool:
        """Returns whether a header matches.

        In a pattern `*` stands for any characters, `?` for one, and `[…]` for one of a set; case is ignored.
        """
        return all(
            any(fnmatchcase(getattr(header, name).strip().lower(), pattern.lower()) for pattern in patterns)
            for name, patterns in self.patterns.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: it applies if any of its `matches` does, and a rule without one matches everything.

    Attributes:
        name: Its name in the file.
        matches: What it matches.
        ignored_because: The reason of a rule that holds images back; None for one that certifies.
        fields: The fields of POST /certify.
        destination: Where results are stored.
        instances: Which instances of a series are certified.
        max_instances: How many of a series at most.
        outputs: What is stored.
    """

    name: str
    matches: tuple[Match, ...] = ()
    ignored_because: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    destination: str = DEFAULT_DESTINATION
    instances: Choice = "middle"
    max_instances: int = 1
    outputs: tuple[Output, ...] = ("sr", "sc")

    def applies(self, header: Header) -> bool:
        """Returns whether the rule matches a header."""
        return not self.matches or any(match.matches(header) for match in self.matches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A DICOMweb root that results are stored at, and the file that holds its bearer token, if it needs one."""

    url: str
    token_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A file of rules, in its order, and the destinations it names beside the PACS."""

    rules: tuple[Rule, ...]
    destinations: Mapping[str, Destination] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certify:
    """The decision to certify."""

    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """The decision to leave a series alone; `rule` is None if no rule matches."""

    rule: str | None
    reason: str


Decision = Certify | Ignore


def decide(header: Header, rules: Rules) -> Decision:
    """Returns what the first matching rule says; without one, the series is ignored.

    Args:
        header: The attributes of the series.
        rules: The rules, in the order of the file.
    """
    for rule in rules.rules:
        if rule.applies(header):
            if rule.ignored_because is not None:
                return Ignore(rule=rule.name, reason=rule.ignored_because)
            return Certify(rule=rule)
    return Ignore(rule=None, reason=NO_RULE)
