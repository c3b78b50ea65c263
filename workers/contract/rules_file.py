"""Reads a file of rules, and says of each error where it is and what was expected."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args

from certrad.models.types import Bound
from certrad.models.types.noise_space import NoiseSpace
from certrad.models.types.smoothing import ALPHA_RANGE, N0_MIN, N_MAX, SIGMA_RANGE, TARGET_MAX
from certrad.models.types.variants import VARIANT_RADIUS_MAX
from certrad.models.types.window import read_window
from certrad.workers.contract.rules import DEFAULT_DESTINATION, Choice, Destination, Header, Match, Output, Rule, Rules
from certrad.workers.contract.toml_text import read_toml
from certrad.workers.contract.variant_fields import VARIANTS_FIELD, read_list

SHIPPED: Final = Path(__file__).with_name("shipped_rules.toml")
_ATTRIBUTES: Final = tuple(item.name for item in fields(Header))
_MAX_INSTANCES: Final = 1000

Check = Callable[[object], bool]


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 128


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _window(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        read_window(value)
    except ValueError:
        return False
    return True


def _variants(value: object) -> bool:
    try:
        for listed in VARIANTS_FIELD.validate_json(_json(value)):
            with suppress(KeyError):  # the presets are those of a task, which only the service knows
                read_list(listed, ())
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False)


_SIGMA: Final = _number(*SIGMA_RANGE)

REQUEST_FIELDS: Final[Mapping[str, tuple[Check, str]]] = {
    "task": (_text, "the id of a task, as GET /tasks lists them"),
    "backbone": (_text, "the id of a backbone, as GET /backbones lists them"),
    "prompt": (_text, "the id of a prompt, or `template`"),
    "adapter": (_text, "the id of an adapter, as GET /adapters lists them, or `none`"),
    "adaptation": (_one_of("none", "zero_shot", "gated"), "`none`, `zero_shot` or `gated`"),
    "sigma": (
        lambda value: value == "auto" or _SIGMA(value),
        f"a number from {SIGMA_RANGE[0]:g} to {SIGMA_RANGE[1]:g}, or `auto`",
    ),
    "alpha": (_number(*ALPHA_RANGE), f"a number from {ALPHA_RANGE[0]:g} to {ALPHA_RANGE[1]:g}"),
    "n0": (_whole(N0_MIN, N_MAX), f"a whole number from {N0_MIN} to {N_MAX}"),
    "n": (_whole(N0_MIN, N_MAX), f"a whole number from {N0_MIN} to {N_MAX}"),
    "bound": (_one_of(*get_args(Bound)), " or ".join(f"`{name}`" for name in get_args(Bound))),
    "target_radius": (
        lambda value: _number(0, TARGET_MAX * SIGMA_RANGE[1])(value) and value != 0,
        f"a number above 0, up to {TARGET_MAX * SIGMA_RANGE[1]:g}",
    ),
    "window": (_window, "`file`, `CENTRE,WIDTH`, `percentile` or a preset of the task"),
    "noise_space": (_one_of(*get_args(NoiseSpace)), " or ".join(f"`{name}`" for name in get_args(NoiseSpace))),
    "variants": (_variants, "a list of one table or more, each with `kind` and its fields, as POST /certify has them"),
    "variant_radius": (
        _number(0, VARIANT_RADIUS_MAX * SIGMA_RANGE[1]),
        f"a number from 0 to {VARIANT_RADIUS_MAX * SIGMA_RANGE[1]:g}",
    ),
    "variant_n": (_whole(N0_MIN, N_MAX), f"a whole number from {N0_MIN} to {N_MAX}"),
    "frame": (_whole(1, 1_000_000), "the number of a frame, from 1"),
    "priority": (_one_of("normal", "urgent"), "`normal` or `urgent`"),
}
"""The keys of a rule that are fields of POST /certify, with what each must be."""

_OWN_KEYS: Final[Mapping[str, tuple[Check, str]]] = {
    "name": (_text, "a text of 1 to 128 characters"),
    "match": (lambda value: isinstance(value, dict | list), "a table, or a list of tables"),
    "ignore": (lambda value: value is True, "`true`; leave it out otherwise"),
    "reason": (_text, "a text of 1 to 128 characters"),
    "destination": (_text, "the name of a destination of this file, or `pacs`"),
    "instances": (_one_of(*get_args(Choice)), "`all`, `middle` or `first`"),
    "max_instances": (_whole(1, _MAX_INSTANCES), f"a whole number from 1 to {_MAX_INSTANCES}"),
    "outputs": (
        lambda value: isinstance(value, list) and bool(value) and all(each in get_args(Output) for each in value),
        "a list of `sr` and `sc`",
    ),
}
_WITHOUT_VARIANTS: Final = {"sigma": "auto", "adaptation": "zero_shot", "noise_space": "image"}
_KEYS: Final = {**_OWN_KEYS, **REQUEST_FIELDS}


class RulesError(ValueError):
    """The file of rules is wrong; `problems` are sentences, one for each error."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def read_rules(path: Path | None) -> Rules:
    """Returns the rules of a file.

    Args:
        path: The file; None for the one that is shipped.

    Raises:
        RulesError: It cannot be read, or it is wrong.
    """
    try:
        text = (path or SHIPPED).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RulesError([f"the file of rules cannot be read: {reason}"]) from None
    return parse_rules(text)


def parse_rules(text: str) -> Rules:
    """Returns the rules of a TOML text.

    Raises:
        RulesError: It is wrong; every error names the line or the rule.
    """
    try:
        content = read_toml(text)
    except ValueError as error:
        raise RulesError([str(error)]) from None
    problems = [f"`{name}`: unknown; a file has `rule` and `destination`" for name in content.keys() - _TOP]
    tables = content.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RulesError([*problems, "`rule`: must be written as `[[rule]]`"])
    destinations = _destinations(content.get("destination", {}), problems)
    names: set[str] = set()
    for number, table in enumerate(tables, 1):
        where = f"rule {number}" + (f" ({table['name']!r})" if _text(table.get("name")) else "")
        problems += [f"{where}: {problem}" for problem in _problems(table, destinations)]
        if _text(name := table.get("name")):
            if name in names:
                problems.append(f"{where}: another rule has this name")
            names.add(name)
    if problems:
        raise RulesError(problems)
    return Rules(rules=tuple(map(_rule, tables)), destinations=destinations)


_TOP: Final = frozenset({"rule", "destination"})


def _destinations(tables: object, problems: list[str]) -> dict[str, Destination]:
    found: dict[str, Destination] = {}
    for name, table in (tables if isinstance(tables, dict) else {"": None}).items():
        where = f"destination {name!r}"
        if name == DEFAULT_DESTINATION:
            problems.append(f"{where}: this name stands for the PACS of CERTRAD_PACS_URL")
        elif not isinstance(table, dict) or not table.keys() <= {"url", "token_file"}:
            problems.append(f"{where}: must be a table `[destination.NAME]` with `url` and perhaps `token_file`")
        elif not isinstance(url := table.get("url"), str) or not re.fullmatch(r"https?://[^\s@?#]+", url):
            problems.append(f"{where}: `url` must be the http or https address of a DICOMweb root, without a password")
        elif not isinstance(table.get("token_file", ""), str):
            problems.append(f"{where}: `token_file` must be the path of a file")
        else:
            found[name] = Destination(url=url, token_file=table.get("token_file"))
    return found


def _problems(table: Mapping[str, Any], destinations: Mapping[str, Destination]) -> Iterator[str]:
    if "name" not in table:
        yield "`name` is missing"
    for key, value in table.items():
        check, expected = _KEYS.get(key, (None, ""))
        if check is None:
            yield f"`{key}` is unknown; a rule has {', '.join(f'`{known}`' for known in _KEYS)}"
        elif not check(value):
            yield f"`{key}` must be {expected}"
    if isinstance(matches := table.get("match", []), dict | list):
        for match in [matches] if isinstance(matches, dict) else matches:
            yield from _match_problems(match)
    yield from _ending_problems(table, destinations)


def _ending_problems(table: Mapping[str, Any], destinations: Mapping[str, Destination]) -> Iterator[str]:
    destination = table.get("destination", DEFAULT_DESTINATION)
    if _text(destination) and destination not in {DEFAULT_DESTINATION, *destinations}:
        yield f"`destination` must be one of this file, or `{DEFAULT_DESTINATION}`; got {json.dumps(destination)}"
    if type(n0 := table.get("n0")) is int and type(n := table.get("n")) is int and n0 > n:
        yield "`n0` must be at most `n`"
    yield from _variant_problems(table)
    if table.get("ignore") is True:
        if "reason" not in table:
            yield "`reason` must say why these images are ignored"
        if others := table.keys() - {"name", "match", "ignore", "reason"}:
            yield f"`ignore` excludes {', '.join(f'`{name}`' for name in sorted(others))}"
    elif "reason" in table:
        yield "`reason` goes with `ignore = true` only"


def _variant_problems(table: Mapping[str, Any]) -> Iterator[str]:
    if "variants" not in table:
        for name in ("variant_radius", "variant_n"):
            if name in table:
                yield f"`{name}` goes with `variants` only"
        return
    if "target_radius" in table:
        yield "`variants` and `target_radius` exclude each other"
    for name, value in _WITHOUT_VARIANTS.items():
        if table.get(name) == value:
            yield f'`variants` and `{name} = "{value}"` exclude each other'


def _match_problems(match: object) -> Iterator[str]:
    if not isinstance(match, dict) or not match:
        yield "`match` must be a table with one attribute or more, or a list of such tables"
        return
    for name, patterns in match.items():
        listed = patterns if isinstance(patterns, list) else [patterns]
        if name not in _ATTRIBUTES:
            yield f"`match.{name}` is unknown; rules match {', '.join(f'`{known}`' for known in _ATTRIBUTES)}"
        elif not listed or not all(isinstance(pattern, str) for pattern in listed):
            yield f"`match.{name}` must be a pattern, or a list of patterns"


def _rule(table: Mapping[str, Any]) -> Rule:
    matches = table.get("match", [])
    options = {name: table[name] for name in ("destination", "instances", "max_instances") if name in table}
    if "outputs" in table:
        options["outputs"] = tuple(dict.fromkeys(table["outputs"]))
    return Rule(
        name=table["name"],
        matches=tuple(map(_match, [matches] if isinstance(matches, dict) else matches)),
        ignored_because=table["reason"] if table.get("ignore") else None,
        fields={name: _field(table[name]) for name in REQUEST_FIELDS if name in table},
        **options,
    )


def _match(table: Mapping[str, Any]) -> Match:
    return Match(patterns={name: tuple(value if isinstance(value, list) else [value]) for name, value in table.items()})


def _field(value: object) -> str:
    return _json(value) if isinstance(value, list) else str(value)
