"""Modules stay short enough to be read in one go."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [path for folder in ("app", "bench", "models", "workers") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_under_300_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 300
