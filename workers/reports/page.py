"""The page of a report: its layout, and its pixels.

Its text is large enough to be read in a viewport of half its width. Most sites show it in a viewer that offers no text
of its own, so it says everything a reader needs. It grows downwards where the texts need it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from certrad.models.certificates.statement import StatedAbstention, StatedCertificate
from certrad.models.types import TEMPLATE_PROMPT
from certrad.workers.reports.fonts import font, line_height
from certrad.workers.reports.layout import (
    AMBER,
    BACKGROUND,
    LINE,
    NOTICE,
    ON_AMBER,
    ON_NOTICE,
    PANEL,
    SOFT,
    Box,
    Column,
    Layout,
    Panel,
    TextBox,
)
from certrad.workers.reports.report import Report
from certrad.workers.reports.result_column import abstained_column, certified_column
from certrad.workers.reports.texts import Texts
from certrad.workers.reports.window_text import window_text

WIDTH: Final = 1440
_HEIGHT: Final = 1080
_MARGIN: Final = 56
_BANNER: Final = 88
_LEFT: Final = 600
_GUTTER: Final = 64
_FRAME: Final = 600
_FOOTER_GUTTER: Final = 32
_DIGITS: Final = 16

RGB = NDArray[np.uint8]


def page(report: Report, image: RGB | None) -> RGB:
    """Returns the page of a report, height x width x 3.

    Args:
        report: What it says.
        image: The image as it was shown to the model, height x width x 3; None for a page without it.
    """
    return draw(page_layout(report, None if image is None else (image.shape[0], image.shape[1])), image)


def page_layout(report: Report, image: tuple[int, int] | None) -> Layout:
    """Returns the layout of a page.

    Args:
        report: What it says.
        image: Rows and columns of the image; None for a page without it.
    """
    texts = Texts(report.language)
    claim = report.statement.claim
    whole = Column(x=_MARGIN, width=WIDTH - 2 * _MARGIN, y=0)
    _banner(whole, texts, calm=isinstance(claim, StatedAbstention) or claim.unlike)
    _notice(whole, report, texts)
    whole.gap(44)
    right = Column(x=_MARGIN + _LEFT + _GUTTER, width=WIDTH - 2 * _MARGIN - _LEFT - _GUTTER, y=whole.y)
    if isinstance(claim, StatedCertificate):
        certified_column(right, claim, report, texts)
    else:
        abstained_column(right, claim, report, texts)
    left, picture = _picture(report, image, texts, whole.y, right.y)
    footer = Column(x=_MARGIN, width=whole.width, y=0)
    _footer(footer, report, texts)
    whole.take(left, right)
    whole.y = max(whole.y + 44, _HEIGHT - footer.y)
    moved = Column(x=_MARGIN, width=whole.width, y=whole.y)
    _footer(moved, report, texts)
    whole.take(moved)
    return Layout(width=WIDTH, height=whole.y, panels=tuple(whole.panels), texts=tuple(whole.texts), picture=picture)


def draw(layout: Layout, image: RGB | None) -> RGB:
    """Returns the pixels of a page.

    Args:
        layout: Its layout.
        image: The image; None for a page without it.
    """
    canvas = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    drawing = ImageDraw.Draw(canvas)
    for panel in layout.panels:
        box = panel.box
        corners = (box.x, box.y, box.right - 1, box.bottom - 1)
        drawing.rounded_rectangle(corners, panel.corner, fill=panel.fill, outline=panel.outline)
    if layout.picture is not None and image is not None:
        size = (layout.picture.width, layout.picture.height)
        resample = Image.Resampling.LANCZOS if size[0] < image.shape[1] else Image.Resampling.BICUBIC
        canvas.paste(Image.fromarray(image).resize(size, resample), (layout.picture.x, layout.picture.y))
    for text in layout.texts:
        _draw_text(drawing, text)
    return np.asarray(canvas)


def _draw_text(drawing: ImageDraw.ImageDraw, text: TextBox) -> None:
    used, step = font(text.weight, text.size), line_height(text.size)
    ascent, descent = used.getmetrics()
    baseline = text.box.y + (step - ascent - descent) // 2 + ascent
    x, anchor = {
        "left": (text.box.x, "ls"),
        "centre": (text.box.x + text.box.width // 2, "ms"),
        "right": (text.box.right, "rs"),
    }[text.align]
    for number, line in enumerate(text.lines):
        drawing.text((x, baseline + number * step), line, fill=text.colour, font=used, anchor=anchor)


def _banner(whole: Column, texts: Texts, *, calm: bool) -> None:
    """Adds the banner: amber above a certificate, dark with amber letters above what names no class."""
    fill, ink, side = (PANEL, AMBER, SOFT) if calm else (AMBER, ON_AMBER, ON_AMBER)
    whole.panels.append(Panel(box=Box(x=0, y=0, width=WIDTH, height=_BANNER), fill=fill))
    if calm:
        whole.panels.append(Panel(box=Box(x=0, y=_BANNER - 3, width=WIDTH, height=3), fill=AMBER))
    left = Column(x=_MARGIN, width=760, y=(_BANNER - line_height(38)) // 2, behind=fill)
    left.text(texts("page.banner"), 38, weight="SemiBold", colour=ink)
    right = Column(x=_MARGIN + 780, width=whole.width - 780, y=(_BANNER - line_height(22)) // 2, behind=fill)
    right.text(texts("page.research"), 22, colour=side, align="right")
    whole.take(left, right)
    whole.y = _BANNER


def _notice(whole: Column, report: Report, texts: Texts) -> None:
    """Adds the warnings, which stand above the result."""
    if not report.warnings:
        return
    top = whole.y
    title = Column(x=_MARGIN, width=240, y=top + 24, behind=NOTICE)
    title.text(texts("page.warning"), 22, weight="SemiBold", colour=AMBER)
    body = Column(x=_MARGIN + 260, width=whole.width - 260, y=top + 25, behind=NOTICE)
    for number, code in enumerate(report.warnings):
        body.gap(12 if number else 0)
        body.text(texts(f"warning.{code}"), 20, colour=ON_NOTICE)
    bottom = body.y + 24
    whole.panels.append(Panel(box=Box(x=0, y=top, width=WIDTH, height=bottom - top), fill=NOTICE))
    whole.take(title, body)
    whole.y = bottom


def _picture(
    report: Report, image: tuple[int, int] | None, texts: Texts, top: int, bottom: int
) -> tuple[Column, Box | None]:
    """Returns the column of the image with what is said below it, and where the image is drawn."""
    column = Column(x=_MARGIN, width=_LEFT, y=top)
    caption = Column(x=_MARGIN, width=_LEFT, y=0)
    if image is None:
        frame = Box(x=_MARGIN, y=top, width=_LEFT, height=_FRAME)
        column.panels.append(Panel(box=frame, fill=PANEL, outline=LINE, corner=10))
        inner = Column(x=_MARGIN + 60, width=_LEFT - 120, y=0, behind=PANEL)
        _no_picture(inner, texts)
        inner = Column(x=inner.x, width=inner.width, y=top + (_FRAME - inner.y) // 2, behind=PANEL)
        _no_picture(inner, texts)
        column.take(inner)
        column.y = frame.bottom
        return column, None
    _caption(caption, report, image, texts)
    rows, columns = image
    space = max(_FRAME, bottom - top - caption.y - 16)
    scale = min(_LEFT / columns, space / rows)
    width, height = max(1, int(columns * scale)), max(1, int(rows * scale))
    picture = Box(x=_MARGIN + (_LEFT - width) // 2, y=top, width=width, height=height)
    column.panels.append(Panel(box=Box(x=_MARGIN, y=top, width=_LEFT, height=height), fill=(0, 0, 0)))
    column.gap(height + 16)
    _caption(column, report, image, texts)
    return column, picture


def _caption(column: Column, report: Report, image: tuple[int, int], texts: Texts) -> None:
    rows, columns = (texts.number(length) for length in image)
    column.text(window_text(report.statement.subject.window, texts), 19, colour=SOFT)
    if report.frame is None:
        size = texts("picture.size", columns=columns, rows=rows)
    else:
        size = texts("picture.size_of_frame", frame=str(report.frame), columns=columns, rows=rows)
    column.text(size, 19, colour=SOFT)
    column.text(texts("picture.purpose"), 19, colour=SOFT)


def _no_picture(column: Column, texts: Texts) -> None:
    column.text(texts("picture.none_title"), 26, weight="SemiBold", align="centre")
    column.gap(10)
    column.text(texts("picture.none"), 20, colour=SOFT, align="centre")


def _footer(column: Column, report: Report, texts: Texts) -> None:
    column.rule()
    column.gap(22)
    classifier = report.statement.classifier
    entries = (
        (200, "page.model", classifier.backbone),
        (345, "page.prompt", texts("page.template") if classifier.prompt == TEMPLATE_PROMPT else classifier.prompt),
        (225, "page.certificate", report.certificate_sha256[:_DIGITS]),
        (280, "page.issued", _time(report)),
        (150, "page.software", f"certrad {report.software_version}"),
    )
    x = column.x
    parts = []
    for width, key, value in entries:
        part = Column(x=x, width=width, y=column.y)
        part.text(texts(key), 17, colour=SOFT)
        part.gap(2)
        part.text(value, 19)
        if key == "page.prompt" and classifier.adapter is not None:
            part.text(texts("page.adapter", adapter=classifier.adapter), 17)
        parts.append(part)
        x += width + _FOOTER_GUTTER
    column.take(*parts)
    column.gap(30)


def _time(report: Report) -> str:
    time = report.issued_at
    zone = time.isoformat()[-6:] if time.utcoffset() else "UTC"
    return f"{time:%Y-%m-%d %H:%M:%S} {zone}"
