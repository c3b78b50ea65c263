"""The locks of the images hold all that pyproject.toml asks for, in versions that it allows, with hashes only."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.processes import ROOT

LOCKS: Final = {"api": ("api", "telemetry"), "worker": ("worker", "hospital", "telemetry")}
TARGETS: Final = [
    {"python_version": python, "python_full_version": f"{python}.9", "platform_machine": machine}
    for python in ("3.11", "3.12", "3.13", "3.14")
    for machine in ("x86_64", "aarch64")
]
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^ \\]+)", re.MULTILINE)


def lock(image: str) -> str:
    """The lock of an image."""
    return (ROOT / "docker" / f"requirements-{image}.txt").read_text()


def pinned(image: str) -> dict[str, str]:
    """The versions of a lock, by canonical name."""
    return {canonicalize_name(name): version for name, version in _PINNED.findall(lock(image))}


def needed(requirement: Requirement) -> bool:
    """Returns whether any target needs it; none of them is a Python or a platform of its own choice."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**linux, **target}) for target in TARGETS)


@pytest.mark.parametrize("image", LOCKS)
def test_a_lock_satisfies_the_project(image: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(each for extra in LOCKS[image] for each in project["optional-dependencies"][extra]),
    ]
    versions = pinned(image)
    for text in asked:
        requirement = Requirement(text)
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, text


@pytest.mark.parametrize("image", LOCKS)
def test_a_lock_holds_what_its_packages_need_on_every_supported_python_and_processor(image: str) -> None:
    versions, missing = pinned(image), []
    for name in versions:
        try:
            listed = requires(name) or []
        except PackageNotFoundError:  # of another platform than this
            continue
        parsed = (Requirement(text) for text in listed)
        missing += [f"{name}: {one}" for one in parsed if needed(one) and canonicalize_name(one.name) not in versions]
    assert missing == []


@pytest.mark.parametrize("image", LOCKS)
def test_every_line_of_a_lock_is_a_version_with_hashes_and_names_no_place(image: str) -> None:
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", re.sub(r"(?m)^ *#.*\n", "", lock(image)))[1:]
    assert entries
    for entry in entries:
        assert re.fullmatch(
            r"[A-Za-z0-9._-]+==[^\s;]+(?: ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\s*", entry
        ), entry
    assert not re.search(r"https?://|file://|--(?:index|extra|find|trusted)", lock(image))
