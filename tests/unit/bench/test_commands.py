"""No command of `python -m certrad.bench` is a library of another."""

import grimp
import pytest

from certrad.bench.__main__ import COMMANDS


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("certrad", cache_dir=None)


@pytest.mark.parametrize("module", sorted(module for module, _ in COMMANDS.values()))
def test_a_command_is_no_library_of_another(module: str, graph: grimp.ImportGraph) -> None:
    assert graph.find_modules_that_directly_import(module) == set()
