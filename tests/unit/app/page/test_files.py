"""The files of the page: what is vendored is unchanged, and nothing needs another host or an inline script."""

import hashlib
import re
from pathlib import Path

import pytest

import certrad.app.page
from certrad.app.page.files import read_files

PAGE = Path(certrad.app.page.__file__).parent
VENDOR = PAGE / "vendor"
OWN = [
    path for path in sorted(PAGE.rglob("*")) if path.suffix in (".js", ".css", ".html") and VENDOR not in path.parents
]
_ROW = re.compile(r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_vendored_files_are_those_of_their_packages() -> None:
    listed = dict(_ROW.findall((VENDOR / "README.md").read_text("utf-8")))
    present = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != VENDOR / "README.md"
    }
    assert present == listed


def test_every_vendored_package_has_its_licence() -> None:
    assert all((package / "LICENSE").is_file() for package in VENDOR.iterdir() if package.is_dir())


def test_vendored_files_are_small() -> None:
    assert sum(path.stat().st_size for path in VENDOR.rglob("*") if path.is_file()) < 2_200_000


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_names_another_host(path: Path) -> None:
    found = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", path.read_text("utf-8"))
    assert set(found) <= {"http://www.w3.org"}


@pytest.mark.parametrize("path", sorted(PAGE.glob("*.html")), ids=lambda path: path.name)
def test_no_page_has_a_script_or_a_style_inside(path: Path) -> None:
    text = path.read_text("utf-8")
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)[^>]*>", text) == []


@pytest.mark.parametrize("path", sorted((PAGE / "scripts").glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(path: Path) -> None:
    text = path.read_text("utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []


@pytest.mark.parametrize("path", sorted((PAGE / "scripts").glob("*.js")), ids=lambda path: path.name)
def test_no_script_has_more_than_300_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 300


def test_only_what_a_browser_loads_is_read() -> None:
    assert {Path(path).suffix for path in read_files()} == {".css", ".html", ".js", ".svg", "", ".txt"}
