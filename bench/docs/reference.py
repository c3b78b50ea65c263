"""Writes what follows from the code in docs/: settings, errors, request fields, statuses, phases, events and codes.

    python -m certrad.bench reference

A page holds a pair of comments, `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is replaced by
the table of that name. A test fails when a page is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from certrad.app.api.remedies import REMEDIES
from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.api.schemas.tune import TuningForm
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS
from certrad.workers.contract.names import EVENTS, PHASES, STATUSES
from certrad.workers.contract.secret_files import PREFIX, SUFFIX, secret_settings
from certrad.workers.contract.settings import SharedSettings
from certrad.workers.pacs.failures import FAILURES
from certrad.workers.reports.code_list import code_system, private_concepts
from certrad.workers.settings import CallbackSettings, ConnectorSettings, StackSettings, WorkerSettings

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("api.md", "code_list.md", "errors.md", "pacs.md", "settings.md")
CODE_SYSTEM = "code_system_99certrad.json"
_REGION = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--folder", type=Path, default=DOCS, help="folder of the pages; default: docs/")


def run(arguments: argparse.Namespace) -> None:
    """Rewrites the pages and names those that changed."""
    for name in PAGES:
        page = arguments.folder / name
        text = page.read_text("utf-8")
        if (current := with_tables(text)) != text:
            page.write_text(current, "utf-8")
            print(f"changed {page}")
    (arguments.folder / CODE_SYSTEM).write_text(code_system_text(), "utf-8")


def with_tables(page: str) -> str:
    """Returns the page with every generated table as the code has it today.

    Raises:
        KeyError: The page names a table that does not exist.
    """
    return _REGION.sub(lambda region: f"{region[1]}\n{TABLES[region['name']]()}\n\n{region[3]}", page)


def failures_table() -> str:
    """Returns one row per code of the connector."""
    rows = [(f"`{code}`", _cell(one.meaning), _cell(one.what_to_do)) for code, one in FAILURES.items()]
    return _table(("code", "what happened", "what to do"), rows)


def settings_table(kind: type[BaseSettings], without: type[BaseSettings] | None = None) -> str:
    """Returns one row per setting of a class; `without` leaves out those it inherits from another."""
    inherited = without.model_fields if without else {}
    rows = [
        (
            f"`CERTRAD_{name.upper()}`",
            _default(field.default, unset=field.default_factory is not None),
            _cell(field.description),
        )
        for name, field in kind.model_fields.items()
        if name not in inherited
    ]
    return _table(("variable", "default", "meaning"), rows)


def secrets_table() -> str:
    """Returns one row per secret setting, with the variable that names a file in its place."""
    readers: dict[str, list[str]] = {}
    for reader, kind in (
        ("API", ApiSettings),
        ("workers", WorkerSettings),
        ("connector", ConnectorSettings),
        ("callbacks", CallbackSettings),
    ):
        for name in secret_settings(kind):
            readers.setdefault(name, []).append(reader)
    rows = [
        (f"`{PREFIX}{name.upper()}{SUFFIX}`", f"`{PREFIX}{name.upper()}`", ", ".join(who))
        for name, who in sorted(readers.items())
    ]
    return _table(("variable that names a file", "secret in it", "read by"), rows)


def errors_table() -> str:
    """Returns one row per error code."""
    rows = [
        (f"`{code}`", str(REMEDIES[code].status), _cell(problem.raised_if), _cell(REMEDIES[code].what_to_do))
        for code, problem in PROBLEMS.items()
    ]
    return _table(("code", "HTTP", "raised if", "what to do"), rows)


def code_list_table() -> str:
    """Returns one row per concept of the private coding scheme."""
    rows = [(f"`{concept.value}`", _cell(concept.meaning), _cell(concept.definition)) for concept in private_concepts()]
    return _table(("value", "meaning", "definition"), rows)


def code_system_text() -> str:
    """Returns the private coding scheme as the text of a FHIR CodeSystem."""
    return json.dumps(code_system(), indent=2) + "\n"


def fields_table(form: type[BaseModel]) -> str:
    """Returns one row per field of a request: its values, its default and its meaning."""
    properties: dict[str, dict[str, Any]] = form.model_json_schema()["properties"]
    rows = [
        (f"`{name}`", values(schema), _default(schema.get("default"), unset=False), _cell(schema.get("description")))
        for name, schema in properties.items()
    ]
    return _table(("field", "values", "default", "meaning"), rows)


def values(schema: Mapping[str, Any]) -> str:
    """Returns in words which values a JSON schema takes."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(values(choice) for choice in schema[key] if choice.get("type") != "null")
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("contentMediaType") == "application/json":
        return "JSON list"
    kind = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`"}.get(schema["type"], "text")
    return f"{kind} {limits}" if (limits := _limits(schema)) else kind


def _limits(schema: Mapping[str, Any]) -> str:
    smallest, largest = schema.get("minimum"), schema.get("maximum")
    bounds = []
    if smallest is not None and largest is not None:
        return f"{_number(smallest)} to {_number(largest)}"
    if smallest is not None:
        bounds.append(f"from {_number(smallest)}")
    if (above := schema.get("exclusiveMinimum")) is not None:
        bounds.append(f"above {_number(above)}")
    if largest is not None:
        bounds.append(f"up to {_number(largest)}")
    if (below := schema.get("exclusiveMaximum")) is not None:
        bounds.append(f"below {_number(below)}")
    return ", ".join(bounds)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _default(value: object, *, unset: bool) -> str:
    return "" if unset or value is None else f"`{value}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _words(meanings: Mapping[Any, str], name: str) -> str:
    return _table((name, "meaning"), [(f"`{word}`", _cell(meaning)) for word, meaning in meanings.items()])


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join((lines[0], "|" + "---|" * lines[0].count(" | ") + "---|", *lines[1:]))


TABLES: dict[str, Callable[[], str]] = {
    "errors": errors_table,
    "code-list": code_list_table,
    "shared-settings": lambda: settings_table(SharedSettings),
    "api-settings": lambda: settings_table(ApiSettings, SharedSettings),
    "worker-settings": lambda: settings_table(WorkerSettings, SharedSettings),
    "stack-settings": lambda: settings_table(StackSettings, WorkerSettings),
    "connector-failures": failures_table,
    "callback-settings": lambda: settings_table(CallbackSettings, SharedSettings),
    "secrets": secrets_table,
    "connector-settings": lambda: settings_table(ConnectorSettings, SharedSettings),
    "certify-fields": lambda: fields_table(CertifyForm),
    "prompts-fields": lambda: fields_table(TuningForm),
    "statuses": lambda: _words(STATUSES, "status"),
    "phases": lambda: _words(PHASES, "phase"),
    "events": lambda: _words(EVENTS, "event"),
}
"""Name of a table -> what makes it."""
