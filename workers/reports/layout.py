"""The layout of a page as a value: what stands where, before a pixel is drawn."""

from dataclasses import dataclass, field
from typing import Final, Literal

from certrad.workers.reports.fonts import Weight, line_height, normalised, text_width, wrapped

Colour = tuple[int, int, int]
Align = Literal["left", "centre", "right"]

BACKGROUND: Final[Colour] = (11, 15, 20)
PANEL: Final[Colour] = (20, 27, 35)
LINE: Final[Colour] = (46, 58, 71)
BRIGHT: Final[Colour] = (243, 246, 249)
SOFT: Final[Colour] = (176, 188, 200)
ACCENT: Final[Colour] = (121, 196, 255)
AMBER: Final[Colour] = (244, 180, 62)
ON_AMBER: Final[Colour] = (28, 20, 4)
NOTICE: Final[Colour] = (43, 34, 17)
ON_NOTICE: Final[Colour] = (255, 229, 170)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of the page.

    Attributes:
        x: Left edge in pixels.
        y: Upper edge.
        width: Its width.
        height: Its height.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Returns the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Returns the lower edge."""
        return self.y + self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A filled rectangle.

    Attributes:
        box: Where it is.
        fill: Its colour.
        outline: Colour of its edge, or None.
        corner: Radius of its corners.
    """

    box: Box
    fill: Colour
    outline: Colour | None = None
    corner: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBox:
    """Lines of text in one font.

    Attributes:
        box: The box that the lines must not leave.
        lines: The lines.
        size: Font size in pixels.
        weight: Weight of the font.
        colour: Its colour.
        behind: Colour behind it, for the contrast.
        align: Where the lines are in the box.
    """

    box: Box
    lines: tuple[str, ...]
    size: int
    weight: Weight
    colour: Colour
    behind: Colour = BACKGROUND
    align: Align = "left"

    @property
    def text(self) -> str:
        """Returns the text without its line breaks."""
        return " ".join(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A page.

    Attributes:
        width: Its width in pixels.
        height: Its height.
        panels: Its filled rectangles, in drawing order.
        texts: Its texts, none of which overlap.
        picture: Where the image is drawn; None on a page without it.
    """

    width: int
    height: int
    panels: tuple[Panel, ...]
    texts: tuple[TextBox, ...]
    picture: Box | None


@dataclass(slots=True, kw_only=True)
class Column:
    """A column that is filled from top to bottom.

    Attributes:
        x: Left edge in pixels.
        width: Its width.
        y: Where the next text begins.
        behind: Colour behind its texts.
        texts: The texts so far.
        panels: The panels so far.
    """

    x: int
    width: int
    y: int
    behind: Colour = BACKGROUND
    texts: list[TextBox] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)

    def text(
        self,
        text: str,
        size: int,
        *,
        weight: Weight = "Regular",
        colour: Colour = BRIGHT,
        align: Align = "left",
    ) -> None:
        """Adds a paragraph, as high as its lines need.

        Args:
            text: The text.
            size: Font size in pixels.
            weight: Weight of the font.
            colour: Its colour.
            align: Where its lines are in the column.
        """
        lines = wrapped(text, weight, size, self.width)
        height = line_height(size) * len(lines)
        self.texts.append(
            TextBox(
                box=Box(x=self.x, y=self.y, width=self.width, height=height),
                lines=lines,
                size=size,
                weight=weight,
                colour=colour,
                behind=self.behind,
                align=align,
            )
        )
        self.y += height

    def gap(self, height: int) -> None:
        """Leaves space.

        Args:
            height: Its height in pixels.
        """
        self.y += height

    def rule(self) -> None:
        """Draws a thin line across the column."""
        self.panels.append(Panel(box=Box(x=self.x, y=self.y, width=self.width, height=1), fill=LINE))

    def inner(self, padding: int, behind: Colour) -> "Column":
        """Returns a column inside this one, which `take` puts on a panel.

        Args:
            padding: Space to the edges of the panel.
            behind: Colour of the panel.
        """
        return Column(x=self.x + padding, width=self.width - 2 * padding, y=self.y + padding, behind=behind)

    def take(self, *parts: "Column") -> None:
        """Takes the texts and panels of other columns, and goes on below the lowest.

        Args:
            *parts: The columns.
        """
        for part in parts:
            self.texts.extend(part.texts)
            self.panels.extend(part.panels)
        self.y = max(self.y, *(part.y for part in parts))


def fitting_size(text: str, weight: Weight, width: int, sizes: tuple[int, ...], most_lines: int) -> int:
    """Returns the largest font size with which a text takes few lines and no word is broken, else the smallest.

    Args:
        text: The text.
        weight: Weight of the font.
        width: Width of a line in pixels.
        sizes: The sizes to choose from, largest first.
        most_lines: The number of lines it may take.
    """
    for size in sizes:
        words = normalised(text).split(" ")
        if max(text_width(word, weight, size) for word in words) > width:
            continue
        if len(wrapped(text, weight, size, width)) <= most_lines:
            return size
    return sizes[-1]
