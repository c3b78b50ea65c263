"""`make test` needs Python packages only; what needs a package of Debian is run by `make test-system`."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
NEEDS_DEBIAN: Final = re.compile(r"from tests\.support\.(browser|guarded_redis|orthanc|reverse_proxy) import")
SYSTEM: Final = re.compile(r"^pytestmark = .*pytest\.mark\.(system|soak)", flags=re.MULTILINE)
MODULES: Final = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if NEEDS_DEBIAN.search(path.read_text())]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_module_that_needs_debian_belongs_to_the_system_suite(module: Path) -> None:
    assert SYSTEM.search(module.read_text()), f"{module.name} must have the marker system"
