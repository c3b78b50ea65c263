"""The published interface: a change of it is a change of `openapi.json` beside this file, to be read in review.

`python -m tests.contract.test_openapi` writes the snapshot anew.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from certrad.app.api.remedies import REMEDIES
from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.api.schemas.tune import TuningForm
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings

SNAPSHOT: Final = Path(__file__).with_name("openapi.json")


def described() -> dict[str, Any]:
    """The OpenAPI description as a client gets it."""
    description: dict[str, Any] = json.loads(json.dumps(create_app(ApiSettings()).openapi()))
    return description


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return described()


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_interface_is_the_reviewed_one(openapi: dict[str, Any]) -> None:
    assert openapi == json.loads(SNAPSHOT.read_text("utf-8"))


def test_description_is_openapi_3_1_and_complete_in_itself(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    schemas = openapi["components"]["schemas"]
    assert {reference.removeprefix("#/components/schemas/") for reference in references(openapi)} <= set(schemas)


def test_operations_have_unique_ids_and_summaries(openapi: dict[str, Any]) -> None:
    found = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(found) == len(set(found))
    assert all(operation["summary"] for _, operation in operations(openapi))


def test_every_error_is_a_problem_with_an_example(openapi: dict[str, Any]) -> None:
    for name, operation in operations(openapi):
        for status, response in operation["responses"].items():
            # PS3.18 answers a store of which nothing was taken in DICOM's own form
            is_answer_to_a_store = status == "409" and operation["operationId"].startswith("store_instances")
            if int(status) < 400 or is_answer_to_a_store:
                continue
            assert list(response["content"]) == ["application/problem+json"], name
            examples = response["content"]["application/problem+json"]["examples"]
            assert examples, name
            for code, example in examples.items():
                assert example["value"]["status"] == REMEDIES[code].status == int(status)


def test_both_kinds_of_submission_describe_every_field(openapi: dict[str, Any]) -> None:
    operation = openapi["paths"]["/certify"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    query = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
    assert set(form["properties"]) == {*CertifyForm.model_fields, "image"}
    assert query == set(CertifyForm.model_fields)


def test_a_tuning_describes_every_field(openapi: dict[str, Any]) -> None:
    body = openapi["paths"]["/prompts"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["properties"]) == {*TuningForm.model_fields, "images"}
    assert all(field.get("description") for field in body["properties"].values())


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(), indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
