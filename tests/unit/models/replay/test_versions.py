"""A replay warns of packages in other versions than the document names, and of no others."""

from importlib.metadata import version

import pytest

from certrad.models.replay.versions import installed_version, version_warning

HERE = {"torch": "2.14.1", "numpy": "2.4.0"}


def here(name: str) -> str:
    return HERE.get(name, "none")


@pytest.mark.parametrize(
    "stated", [{}, {"torch": "2.14.1"}, {"torch": "2.14.1", "numpy": "2.4.0", "certrad": "0.0.1", "scipy": "0"}]
)
def test_the_stated_versions_give_no_warning(stated: dict[str, str]) -> None:
    assert version_warning(stated, here) is None


def test_every_other_version_is_named_with_the_one_that_is_installed() -> None:
    found = version_warning({"torch": "2.15.0", "openvino": "2026.4.1", "numpy": "2.4.0"}, here)
    assert found is not None
    assert "torch 2.15.0, this machine has 2.14.1; openvino 2026.4.1, this machine has none" in found
    assert "numpy" not in found


def test_versions_are_those_of_the_distributions() -> None:
    assert installed_version("torch") == version("torch")
    assert installed_version("no-such-distribution") == "none"
