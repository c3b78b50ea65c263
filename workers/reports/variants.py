"""What reports say about other renderings of the file: the claim of the document in words, and a short line."""

from collections.abc import Callable, Iterator

from certrad.models.certificates.stated_samples import StatedVariant, StatedVariants
from certrad.models.certificates.statement import Statement
from certrad.models.certificates.window_box_text import boxes_of_lists
from certrad.models.types import LabelCounts
from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    HeaderTable,
    PercentileRange,
    WindowOfHeader,
    WindowOfRequest,
    WindowOfTask,
)
from certrad.models.types.image import ImageRadius
from certrad.models.types.renderings import (
    BitsVariant,
    CellVariant,
    FrameVariant,
    JpegVariant,
    RegionVariant,
    Rendering,
    ShiftVariant,
    WindowVariant,
)
from certrad.workers.reports.texts import Texts

_Number = Callable[[float], str]


def claim_text(stated: StatedVariants, statement: Statement, texts: Texts) -> str:
    """Returns the claim about variants: in English as it is signed, else what it means.

    Words of the claim that the catalogue does not have stay in English.

    Args:
        stated: What the document states of variants.
        statement: What the document states.
        texts: The texts of a language.
    """
    if texts.language == "en" or english_claim(stated, statement) != stated.text:
        return stated.text
    return _claim(stated, statement, texts, texts.number)


def english_claim(stated: StatedVariants, statement: Statement) -> str:
    """Returns the claim about variants as the English catalogue says it; a test compares it with the signed words.

    Args:
        stated: What the document states of variants.
        statement: What the document states.
    """
    return _claim(stated, statement, Texts("en"), repr)


def short_text(stated: StatedVariants, statement: Statement, texts: Texts) -> str:
    """Returns a line about variants for people: held or not, how many, the radius, and what shows least.

    Args:
        stated: What the document states of variants.
        statement: What the document states.
        texts: The texts of a language.
    """
    count = str(len(stated.rows))
    if stated.class_index is None:
        return texts("variants.short_none")
    if stated.counterexample is None:
        return texts("variants.short_held", count=count, radius=texts.number(stated.radius))
    first = texts(f"variants.short_failed{_with_radius(stated)}", **_asked(stated, texts.number), count=count)
    return f"{first} {texts('variants.short_least', row=least_text(stated, statement, texts))}"


def least_text(stated: StatedVariants, statement: Statement, texts: Texts) -> str:
    """Returns the rendering that shows least, with its samples.

    Args:
        stated: What the document states of variants, one of which shows least.
        statement: What the document states.
        texts: The texts of a language.

    Raises:
        ValueError: All of them held, or none was sampled.
    """
    if stated.counterexample is None:
        raise ValueError("every listed rendering held, or none was sampled: there is none that shows least")
    row = stated.rows[stated.counterexample]
    return texts("variants.row", **_row(row, stated, statement, texts, texts.number))


def _claim(stated: StatedVariants, statement: Statement, texts: Texts, number: _Number) -> str:
    if stated.class_index is None:
        return texts("variants.none")
    names = statement.classifier.class_names
    values = {"class_name": names[stated.class_index], "count": str(len(stated.rows))}
    ends = (texts("variants.limits_meant"), texts("variants.nothing_else"))
    if stated.counterexample is None:
        alpha = statement.params.alpha
        held = texts("variants.held", **values, radius=number(stated.radius))
        risk = texts("variants.risk", alpha=number(alpha), twice=number(2 * alpha))
        return " ".join((held, risk, *_boxes(stated, statement, texts, values["class_name"]), *ends))
    failed = texts(f"variants.failed{_with_radius(stated)}", **_asked(stated, number), **values)
    row = _row(stated.rows[stated.counterexample], stated, statement, texts, number)
    return " ".join((failed, texts("variants.least", **row, class_name=values["class_name"]), *ends))


def _boxes(stated: StatedVariants, statement: Statement, texts: Texts, class_name: str) -> Iterator[str]:
    """Yields the sentences about boxes of windows; nothing without one."""
    window, radius = statement.subject.window, statement.radius_in_image_units
    unit = f" {texts.unit(radius.unit)}" if isinstance(radius, ImageRadius) and radius.unit != "stored value" else ""
    boxes = boxes_of_lists(stated.lists, window)
    for box in boxes:
        yield texts(
            "variants.box",
            class_name=class_name,
            unit=unit,
            count=str(box.cells),
            low=_short(box.centre[0], texts),
            high=_short(box.centre[1], texts),
            narrow=_short(box.width[0], texts),
            wide=_short(box.width[1], texts),
        )
    if boxes and isinstance(window, FullRange):
        yield texts("variants.box_of_file")
    if boxes:
        yield texts("variants.box_limits")


def _short(value: float, texts: Texts) -> str:
    """Returns a limit of a box with ten digits at most, as the claim has it."""
    short = f"{value:.10g}"
    return short if texts.language == "en" else texts.number(float(short))


def _with_radius(stated: StatedVariants) -> str:
    return "_radius" if stated.asked_radius else ""


def _asked(stated: StatedVariants, number: _Number) -> dict[str, str]:
    return {"asked": number(stated.asked_radius)} if stated.asked_radius else {}


def _row(
    row: StatedVariant, stated: StatedVariants, statement: Statement, texts: Texts, number: _Number
) -> dict[str, str]:
    samples = row.estimation
    top = LabelCounts(per_class=samples.per_class, invalid=samples.invalid).top
    return {
        "rendering": rendering_text(row.rendering, texts),
        "agreeing": str(samples.per_class[stated.class_index or 0]),
        "samples": str(sum(samples.per_class) + samples.invalid),
        "answer": texts("variants.no_class") if top is None else statement.classifier.class_names[top],
    }


def rendering_text(rendering: Rendering, texts: Texts) -> str:
    """Returns the name of a rendering in a language.

    Args:
        rendering: The rendering.
        texts: The texts of the language.
    """
    match rendering:
        case WindowVariant(window=window):
            return _window(window, texts)
        case CellVariant():
            return texts("rendering.cell", **_values(rendering, texts))
        case ShiftVariant(down=down, right=right):
            return texts("rendering.shift", down=str(down), right=str(right))
        case JpegVariant(quality=quality):
            return texts("rendering.jpeg", quality=str(quality))
        case BitsVariant(bits=bits):
            return texts("rendering.bits", bits=str(bits))
        case FrameVariant(offset=offset):
            return texts("rendering.frame", offset=f"{offset:+d}")
        case RegionVariant(down=down, right=right):
            return texts("rendering.region", down=str(down), right=str(right))


def _window(window: AppliedWindow, texts: Texts) -> str:
    match window:
        case WindowOfHeader(number=number, of=of):
            return texts("rendering.header", number=str(number), of=str(of), **_values(window, texts))
        case HeaderTable(number=number, of=of):
            return texts("rendering.header_table", number=str(number), of=str(of))
        case WindowOfTask(name=name):
            return texts("rendering.preset", name=name, **_values(window, texts))
        case WindowOfRequest():
            return texts("rendering.window", **_values(window, texts))
        case PercentileRange():
            return texts("rendering.percentile")
        case FullRange():
            return texts("rendering.full_range")


def _values(window: WindowOfHeader | WindowOfRequest | WindowOfTask | CellVariant, texts: Texts) -> dict[str, str]:
    short = f"{window.centre:g}", f"{window.width:g}"
    centre, width = short if texts.language == "en" else (texts.number(float(value)) for value in short)
    return {"centre": centre, "width": width}
