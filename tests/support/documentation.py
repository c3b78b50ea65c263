"""The Markdown pages of the repository as tests see them: links, headings, blocks of code and their commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.processes import ROOT

DOCS: Final = ROOT / "docs"
NOT_RUN: Final = re.compile(r"#\s*not run here: (?P<reason>\S.*)")
_FENCE: Final = re.compile(r"^```(?P<language>[a-z]*)\n(?P<content>.*?)^```$", re.DOTALL | re.MULTILINE)
_STEPS: Final = re.compile(r"^<!-- steps: .*? -->$\n(?P<content>.*?)^<!-- end -->$", re.DOTALL | re.MULTILINE)
_STEP: Final = re.compile(r"^### \d+\. ", re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a page: a line of shell, with the lines that it goes on on.

    skipped: why no test runs it; None where a test does.
    """

    text: str
    skipped: str | None


@cache
def pages() -> tuple[Path, ...]:
    """Lists every Markdown page that a reader of the repository may open."""
    return (*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))


def blocks(page: Path, language: str) -> list[str]:
    """Returns the contents of a page's fenced blocks of one language."""
    return [match["content"] for match in _FENCE.finditer(page.read_text("utf-8")) if match["language"] == language]


def commands(page: Path) -> list[Command]:
    """Lists the commands of a page's `sh` blocks; a mark holds up to the next empty line.

    Steps that a test of their own runs are left out; their blocks that no test runs are not.
    """
    elsewhere = {block for step in steps(page) for block in step if not NOT_RUN.match(block)}
    return [command for block in blocks(page, "sh") if block not in elsewhere for command in _commands(block)]


def steps(page: Path) -> list[list[str]]:
    """Lists the numbered steps of a page between `<!-- steps: TEST -->` and `<!-- end -->`: the `sh` blocks of each."""
    return [
        [match["content"] for match in _FENCE.finditer(step) if match["language"] == "sh"]
        for match in _STEPS.finditer(page.read_text("utf-8"))
        for step in _STEP.split(match["content"])[1:]
    ]


def links(page: Path) -> list[str]:
    """Lists the targets of a page's links that lead into the repository."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    return [target for target in _LINK.findall(prose) if not re.match(r"[a-z]+:", target)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Returns the anchors that GitHub gives the headings of a page."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    taken: dict[str, int] = {}
    found = set()
    for heading in _HEADING.findall(prose):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")
        found.add(f"{slug}-{taken[slug]}" if slug in taken else slug)
        taken[slug] = taken.get(slug, 0) + 1
    return frozenset(found)


def _commands(block: str) -> Iterator[Command]:
    reason, unfinished = None, ""
    for line in block.splitlines():
        if not line.strip():
            reason = None
        elif mark := NOT_RUN.fullmatch(line.strip()):
            reason = mark["reason"]
        elif line.endswith("\\"):
            unfinished += f"{line}\n"
        elif not line.startswith("#"):
            yield Command(text=unfinished + line, skipped=reason)
            unfinished = ""
