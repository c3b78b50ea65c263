"""The reference pages say what the code says."""

import json
import re
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from certrad.app.api.remedies import REMEDIES
from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.api.schemas.tune import TuningForm
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.bench.docs import reference
from certrad.models.errors import PROBLEMS
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.workers.contract.names import EVENTS, PHASES, STATUSES
from certrad.workers.settings import ConnectorSettings, StackSettings
from tests.support.documentation import DOCS, blocks
from tests.support.processes import ROOT

STORED = ROOT / "tests" / "data" / "documents_of_schema_3.jsonl"


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def first_cells(text: str) -> list[str]:
    """The first cell of every row of a page's tables."""
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]


def words(text: str) -> set[str]:
    """Returns what stands in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_tables_are_current(name: str) -> None:
    assert reference.with_tables(page(name)) == page(name), "run `python -m certrad.bench reference`"


def test_every_table_is_on_a_page() -> None:
    shown = {name for path in reference.PAGES for name in re.findall(r"<!-- generated: ([a-z-]+) -->", page(path))}
    assert shown == set(reference.TABLES)


def test_command_rewrites_a_page_that_is_out_of_date(tmp_path: Path) -> None:
    for name in reference.PAGES:
        (tmp_path / name).write_text(page(name).replace("| `", "| `former_"), "utf-8")
    reference.run(Namespace(folder=tmp_path))
    for name in reference.PAGES:
        generated = re.findall(r"<!-- generated: .*?<!-- end -->", (tmp_path / name).read_text("utf-8"), re.DOTALL)
        assert generated == re.findall(r"<!-- generated: .*?<!-- end -->", page(name), re.DOTALL)


def test_every_setting_has_one_row() -> None:
    rows = [cell.strip().strip("`") for cell in first_cells(page("settings.md"))]
    kinds = (ApiSettings, StackSettings, ConnectorSettings)
    names = {f"CERTRAD_{name.upper()}" for kind in kinds for name in kind.model_fields}
    found = [row for row in rows if row in names]
    assert set(found) == names
    assert {row for row in found if found.count(row) > 1} == {"CERTRAD_RULES"}  # the API tests them, the connector acts


def test_every_error_code_has_its_status_cause_and_remedy() -> None:
    rows = [line for line in page("errors.md").splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{code}` | {REMEDIES[code].status} | {problem.raised_if} | {REMEDIES[code].what_to_do} |"
        for code, problem in PROBLEMS.items()
    ]


def test_example_of_a_problem_is_what_the_service_answers() -> None:
    (example,) = blocks(DOCS / "errors.md", "json")
    with TestClient(create_app(), base_url="http://127.0.0.1") as client:
        assert client.get("/nothing").json() == json.loads(example)


@pytest.mark.parametrize("table", [STATUSES, PHASES, EVENTS], ids=["statuses", "phases", "events"])
def test_every_status_phase_and_event_is_explained(table: dict[str, str]) -> None:
    for name, meaning in table.items():
        assert f"| `{name}` | {meaning} |" in page("api.md")


@pytest.mark.parametrize(
    ("heading", "form"), [("## Fields of `POST /certify`", CertifyForm), ("## Fields of `POST /prompts`", TuningForm)]
)
def test_every_field_of_a_request_has_one_row(heading: str, form: type[CertifyForm | TuningForm]) -> None:
    section = page("api.md").split(heading)[1].split("\n## ")[0]
    assert [cell.strip().strip("`") for cell in first_cells(section)] == list(form.model_fields)


def test_tuning_page_explains_every_field_of_a_tuning() -> None:
    section = page("tuning.md").split("## Fields")[1].split("\n## ")[0]
    assert words(" ".join(first_cells(section))) == {"images", *TuningForm.model_fields}


@pytest.mark.parametrize(
    ("schema", "words_of_it"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 10_000}, "whole number 1 to 10,000"),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}, "number above 0"),
        ({"enum": ["a", "b"], "type": "string"}, "`a`, `b`"),
        ({"oneOf": [{"type": "number"}, {"const": "auto", "type": "string"}]}, "number or `auto`"),
        ({"type": "string", "contentMediaType": "application/json"}, "JSON list"),
        ({"type": "integer", "minimum": 0, "exclusiveMaximum": 8}, "whole number from 0, below 8"),
        ({"type": "boolean"}, "`true` or `false`"),
    ],
)
def test_values_of_a_field_are_told_in_words(schema: dict[str, Any], words_of_it: str) -> None:
    assert reference.values(schema) == words_of_it


def test_every_call_of_the_interface_is_listed_and_no_other() -> None:
    section = page("api.md").split("## Calls")[1].split("\n## ")[0]
    listed = words(" ".join(first_cells(section)))
    paths = create_app().openapi()["paths"]
    assert listed == {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_field_of_a_result_is_explained() -> None:
    section = page("documents.md").split("## The result of a job")[1].split("\n## ")[0]
    assert words(" ".join(first_cells(section))) == {
        field.name for kind in (CertifiedResult, AbstainedResult) for field in fields(kind)
    }


def test_every_field_of_a_document_is_explained_and_no_other() -> None:
    section = page("documents.md").split("## The certificate document")[1]
    listed = [path for cell in first_cells(section) for name in words(cell) for path in expanded(name)]
    stored = {path for line in STORED.read_text("utf-8").splitlines() for path in document_paths(line)}
    assert len(listed) == len(set(listed))
    assert set(listed) == stored


def expanded(name: str) -> list[str]:
    """`a.{b,c}` as the two names that it stands for."""
    if match := re.fullmatch(r"(.*)\{(.*)\}", name):
        return [f"{match[1]}{last}" for last in match[2].split(",")]
    return [name]


def document_paths(line: str) -> set[str]:
    """The names of all leaves of a stored document; items of a list bear the name of the list."""
    return set(leaves(json.loads(json.loads(line)["document"]), ""))


def leaves(value: object, at: str) -> Iterator[str]:
    """The names of the leaves below a name."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{at}.{key}" if at else key)
    elif isinstance(value, list) and value:
        for item in value:
            if isinstance(item, dict) and "kind" in item:  # explained by its kind, wherever it is listed
                yield at
                yield from leaves({key: part for key, part in item.items() if key != "kind"}, item["kind"])
            else:
                yield from leaves(item, at)
    else:
        yield at
