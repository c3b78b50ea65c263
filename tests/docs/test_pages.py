"""The documentation is whole: README is short, every link leads somewhere, and no page says what was found wrong."""

import json
import re
from pathlib import Path

import pytest

import certrad
from tests.support.documentation import DOCS, anchors, blocks, links, pages, steps
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SOURCES = frozenset(
    str(path.relative_to(ROOT))
    for folder in ("app", "bench", "certrad", "docs", "models", "tests", "workers")
    for path in (ROOT / folder).rglob("*.py")
)


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_readme_is_at_most_200_lines_and_1500_words() -> None:
    assert len(README.splitlines()) <= 200
    assert len(README.split()) <= 1500


def test_readme_says_what_a_hospital_must_know_before_the_first_command() -> None:
    early = README.split("```sh")[0]
    for words in ("every call needs an api key", "research use", "not a medical device"):
        assert words in early.lower()


@pytest.mark.parametrize("page", pages(), ids=_id)
def test_every_link_into_the_repository_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=_id)
def test_every_page_of_docs_is_linked_from_its_index(page: Path) -> None:
    index = DOCS / "README.md"
    assert page == index or page.name in links(index)


@pytest.mark.parametrize("page", pages(), ids=_id)
def test_every_python_file_that_a_page_names_exists(page: Path) -> None:
    prose = page.read_text("utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", prose):
        assert any(source == name or source.endswith(f"/{name}") for source in SOURCES), name


@pytest.mark.parametrize("page", pages(), ids=_id)
def test_no_page_makes_alpha_a_share_of_the_issued_certificates(page: Path) -> None:
    prose = " ".join(page.read_text("utf-8").split())
    said = re.findall(r"of 1,000 certificates[^.]*", prose)
    assert page.name == "CHANGELOG.md" or said == []
    assert "If a certificate says" not in prose


@pytest.mark.parametrize("page", pages(), ids=_id)
def test_every_json_block_is_json(page: Path) -> None:
    assert all(json.loads(block) is not None for block in blocks(page, "json"))


@pytest.mark.parametrize("page", pages(), ids=_id)
def test_steps_of_a_page_name_the_test_that_runs_them(page: Path) -> None:
    named = re.findall(r"^<!-- steps: (.*?) -->$", page.read_text("utf-8"), re.MULTILINE)
    assert bool(named) == bool(steps(page))
    assert all((ROOT / test).exists() for test in named)


def test_library_page_lists_the_names_that_the_package_exports() -> None:
    table = (DOCS / "library.md").read_text("utf-8").split("`certify` takes pixels")[0]
    names = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert names == set(certrad.__all__)


def test_pictures_are_small_and_load_nothing_from_elsewhere() -> None:
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 200_000
        content = picture.read_bytes()
        assert picture.suffix == ".png" or b"@import" not in content
        assert picture.suffix == ".png" or b"url(http" not in content


def test_decisions_have_a_number_and_a_title_that_agree_with_their_file() -> None:
    for page in (DOCS / "adr").glob("[0-9]*.md"):
        number = int(page.name.split("-")[0])
        title = page.read_text("utf-8").splitlines()[0]
        assert number == 0 or title.startswith(f"# {number}. "), page.name
