"""The Python of the documentation runs: the tutorial, the page of the library, and the notebook."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from certrad import Abstention, Certificate
from certrad.models.installed import own_cards
from tests.support.documentation import DOCS, blocks

NOTEBOOK = DOCS / "first_certificate.ipynb"


@pytest.mark.parametrize("page", ["tutorial.md", "library.md"])
def test_python_of_a_page_prints_an_outcome(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(DOCS / page, "python"):
        exec(compile(block, page, "exec"), {"__name__": page})
    outcomes = "|".join(kind.__name__ for kind in (Certificate, Abstention))
    assert re.fullmatch(rf"({outcomes})\(.*\)\n", capsys.readouterr().out)


def test_cards_of_the_operations_page_can_be_used(tmp_path: Path) -> None:
    for kind, text in zip(("backbones", "tasks"), blocks(DOCS / "operations.md", "json"), strict=True):
        folder = tmp_path / "cards" / kind
        folder.mkdir(parents=True)
        (folder / f"{json.loads(text)['id']}.json").write_text(text)
    cards = own_cards(tmp_path / "cards", tmp_path / "prompts", tmp_path / "adapters")
    assert [task.default_backbone for task in cards.tasks.values()] == list(cards.backbones)


def test_model_of_the_tutorial_takes_ten_lines() -> None:
    (block,) = blocks(DOCS / "tutorial.md", "python")
    model = block.split("import SmoothingParams, certify")[1]
    assert len([line for line in model.splitlines() if line.strip()]) <= 10


def test_tutorial_s_bright_image_is_certified_as_bright(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks(DOCS / "tutorial.md", "python")[0], "tutorial", "exec"), {"__name__": "tutorial"})
    assert "Certificate(class_index=1, " in capsys.readouterr().out


@pytest.mark.timeout(600)
def test_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no annotations
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    )
    assert "of 500 noisy samples" in printed
    assert "σ = 0.5: " in printed


def test_notebook_is_stored_with_its_figures_and_without_a_trace_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no annotations
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.get("name") != "stderr" and output.output_type != "error" for output in outputs)
    assert "site-packages" not in NOTEBOOK.read_text("utf-8")
