"""Takes the screenshots of the page that the documentation shows.

    python -m certrad.bench page-pictures --out docs/images

Starts a private service, certifies a phantom of ellipses, and takes the certificate, the live run, an abstention and a
box of windows in Debian's Chromium. The phantom is drawn here: no patient and no data set is in it.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import numpy as np
from PIL import Image

from certrad.app.cli.private_service import private_stack

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Page

_SIDE: Final = 256
_WIDTH: Final = 1280
_WAIT_MS: Final = 240_000
_SHARE_OF_LIVE_RUN: Final = 0.3
_PAUSE_MS: Final = 200
_COLOURS: Final = 128  # of a picture: text and flat areas need few
_BOX: Final = '[{"kind": "window_box", "centre": 70, "width": 1.02}]'
"""Wide enough for windows in which the class of the phantom is not shown."""
_SKULL, _VENTRICLE, _SCALP = 1.0, 0.15, 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--out", type=Path, required=True, help="folder to write page-*.png to")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="program of the browser")
    parser.add_argument("--n", type=int, default=10_000, help="estimation samples of the certificate")


def run(arguments: argparse.Namespace) -> None:
    """Takes the pictures."""
    from playwright.sync_api import sync_playwright  # only this command needs a browser

    with tempfile.TemporaryDirectory(prefix="cr-") as folder, private_stack(Path(folder)) as url:
        certified = _certify(url, phantom(brain=0.5, thickness=0.1, width=0.7, height=0.85), n=arguments.n, wait=True)
        boxed = _certify(
            url,
            phantom(brain=0.5, thickness=0.1, width=0.7, height=0.85),
            n=1000,
            wait=True,
            variants=_BOX,
            variant_n="60",
        )
        abstained = _certify(url, phantom(brain=0.31, thickness=0.08, width=0.62, height=0.78), n=1000, wait=True)
        running = _certify(url, phantom(brain=0.45, thickness=0.1, width=0.7, height=0.85), n=2 * arguments.n)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light")
            page.goto(f"{url}/#/jobs/{running}")
            page.locator("[data-live] tr.first").wait_for(timeout=_WAIT_MS)
            while page.locator("[data-live] progress").evaluate("each => each.position") < _SHARE_OF_LIVE_RUN:
                page.wait_for_timeout(_PAUSE_MS)
            _save(page, arguments.out / "page-live-run.png", 820)
            httpx.delete(f"{url}/jobs/{running}", timeout=30)
            _visit(page, url, certified)
            _save(page, arguments.out / "page-certificate.png", 1560)
            _visit(page, url, abstained)
            _save(page, arguments.out / "page-abstention.png", 1060)
            _visit(page, url, boxed)
            card = page.get_by_role("region", name="Other renderings of this file")
            card.locator(".viewer-panels img").nth(1).wait_for()
            page.locator(".topbar").evaluate("each => each.remove()")  # it would lie over the card
            _write(card.screenshot(), arguments.out / "page-renderings.png")
            browser.close()


def phantom(*, brain: float, thickness: float, width: float, height: float) -> NDArray[np.uint8]:
    """Returns a drawing of ellipses that a model of medical images may take for a head.

    Args:
        brain: Grey of the inside, in [0, 1].
        thickness: Of the bright ring, in halves of the side.
        width: Half axis of the ring across, in halves of the side.
        height: Half axis of the ring along, in halves of the side.
    """
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    pixels = np.zeros((_SIDE, _SIDE))

    def ellipse(grey: float, across: float, along: float, at: tuple[float, float], degrees: float = 0) -> None:
        turn = np.deg2rad(degrees)
        u = (x - at[0]) * np.cos(turn) + (y - at[1]) * np.sin(turn)
        v = (y - at[1]) * np.cos(turn) - (x - at[0]) * np.sin(turn)
        pixels[(u / across) ** 2 + (v / along) ** 2 <= 1] = grey

    ellipse(_SCALP, width + 0.04, height + 0.04, (0, 0))
    ellipse(_SKULL, width, height, (0, 0))
    ellipse(brain, width - thickness, height - thickness, (0, 0))
    ellipse(_VENTRICLE, 0.08, 0.24, (-0.14, -0.05), 16)
    ellipse(_VENTRICLE, 0.08, 0.24, (0.14, -0.05), -16)
    ellipse(1.25 * brain, 0.16, 0.12, (0, 0.38))
    ellipse(_VENTRICLE, 0.03, 0.05, (0, 0.3))
    ellipse(1.45 * brain, 0.1, 0.08, (0.3, 0.28))
    return (255 * pixels.clip(0, 1)).astype(np.uint8)


def _certify(url: str, pixels: NDArray[np.uint8], *, n: int, wait: bool = False, **fields: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    with httpx.Client(base_url=url, timeout=60) as client:
        job = client.post("/certify", content=buffer.getvalue(), params={"n": n, **fields}).raise_for_status().json()
        if wait:  # the stream of events ends with the job
            client.get(job["links"]["events"], timeout=None)
    return str(job["id"])


def _visit(page: Page, url: str, job: str) -> None:
    page.goto(f"{url}/#/jobs/{job}")
    page.locator(".limits li").first.wait_for()
    page.wait_for_load_state("networkidle")


def _save(page: Page, target: Path, height: int) -> None:
    """Writes the upper part of the page with few colours, which a picture of text does not need."""
    page.set_viewport_size({"width": _WIDTH, "height": height})
    page.wait_for_timeout(500)  # until the chart has its new width
    _write(page.screenshot(), target)


def _write(content: bytes, target: Path) -> None:
    picture = Image.open(io.BytesIO(content))
    picture.convert("RGB").quantize(_COLOURS).save(target, "png", optimize=True)
