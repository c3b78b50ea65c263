"""Compares what a document claims about variants with what follows from their labels, by the minimum rule.

Each check returns what it found, or raises ValueError with the reason of a refusal.
"""

from collections.abc import Sequence
from typing import Final

from certrad.models.certificates import checks
from certrad.models.certificates.canonical import DIGEST
from certrad.models.certificates.exact import (
    MILLIONTHS,
    TEN_THOUSANDTHS,
    Bounds,
    Look,
    is_clopper_pearson,
    radii,
)
from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.stated_samples import StatedVariant, StatedVariants
from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.certificates.unsmoothed import StatedUnsmoothed, check_unsmoothed
from certrad.models.certificates.variants import variants_text
from certrad.models.certificates.window_box_text import ShownImage
from certrad.models.types import AlphaSplit, FixedSigma, LabelCounts
from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    HeaderTable,
    RoundedWindow,
    UnroundedWindow,
    WindowOfHeader,
)
from certrad.models.types.image import ImageRadius
from certrad.models.types.renderings import CellVariant, Rendering, WindowVariant
from certrad.models.types.variant_lists import HeaderWindows, check_complete

_WHITE_8: Final = 255
_NOTHING: Final = (None, None, 0.0, None, ())


def variant_lists(statement: Statement, claim: StatedVariants) -> str:
    """Checks that every listed variant is there, once and in order, under a key for each model input.

    Args:
        statement: The document.
        claim: Its claim about variants.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    if not claim.rows:
        return "no variant was sampled"
    check_complete(claim.lists, [row.rendering for row in claim.rows], statement.subject.window)
    _check_own_window(statement, claim)
    keys = {statement.subject.input_sha256: statement.noise.key}
    for row in claim.rows:
        if not (DIGEST.fullmatch(row.input_sha256) and DIGEST.fullmatch(row.key)):
            raise ValueError("input_sha256 and key of a variant must be 64 hexadecimal digits")
        keys.setdefault(row.input_sha256, row.key)
    if any(keys[row.input_sha256] != row.key for row in claim.rows) or len(set(keys.values())) != len(keys):
        raise ValueError("one model input must have one noise key, and another one another")
    return f"all {len(claim.rows)} variants of the lists are there"


def variants(statement: Statement, claim: StatedVariants) -> str:
    """Checks that the claim about variants follows from their labels, for the class of the document, by the minimum.

    Args:
        statement: The document.
        claim: Its claim about variants.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    if isinstance(statement.claim, StatedCertificate):
        _check_rows(statement, claim, statement.claim.class_index)
    elif (claim.class_index, claim.held, claim.radius, claim.counterexample, claim.rows) != _NOTHING:
        raise ValueError("a document without a class must have sampled no variant")
    names, alpha = statement.classifier.class_names, statement.params.alpha
    shown = ShownImage(window=statement.subject.window, radius=statement.radius_in_image_units)
    if claim.text != variants_text(claim, names, alpha, shown):
        raise ValueError("the text is not that of the claim")
    return f"the smallest radius of {len(claim.rows)} variants is {claim.radius}"


def unsmoothed(statement: Statement) -> str:
    """Checks that the claim about renderings without noise follows from the answers that it lists.

    Args:
        statement: The document, which has such a claim.

    Returns:
        What was found.

    Raises:
        ValueError: It does not hold; the message says why.
    """
    if (claim := statement.unsmoothed) is None:
        raise ValueError("there is no claim about renderings without noise")
    of_document = statement.claim.class_index if isinstance(statement.claim, StatedCertificate) else None
    shown = ShownImage(window=statement.subject.window, radius=statement.radius_in_image_units)

    def check_lists(renderings: Sequence[Rendering]) -> None:
        check_complete(claim.lists, renderings, statement.subject.window)
        _check_own_window(statement, claim)

    return check_unsmoothed(claim, of_document, statement.classifier, shown, check_lists)


def _check_own_window(statement: Statement, claim: StatedVariants | StatedUnsmoothed) -> None:
    """Checks that one rendering has one model input, and that the window of the file is where it must be.

    Raises:
        ValueError: One rendering has two model inputs, the window of the file is another one or is missing, or a box is
            about an image whose values are not those of 8 bits.
    """
    own, listed = statement.subject.window, set[AppliedWindow]()
    inputs: dict[object, str] = {} if own is None else {_shown_window(own): statement.subject.input_sha256}
    for row in claim.rows:
        if inputs.setdefault(_shown(row.rendering), row.input_sha256) != row.input_sha256:
            raise ValueError("one rendering must have one model input, and that of the file where it is the file's own")
        if not isinstance(row.rendering, WindowVariant):
            continue
        window = row.rendering.window
        listed.add(window)
        if window != own and _place_in_header(window) == _place_in_header(own) != ():
            raise ValueError("a window of the header must be the one that made the model input, or have another number")
    offers = any(isinstance(each, HeaderWindows) for each in claim.lists)
    if offers and _place_in_header(own) and own not in listed:
        raise ValueError("the window that made the model input must be among those that the header offers")
    boxed, radius = any(isinstance(row.rendering, CellVariant) for row in claim.rows), statement.radius_in_image_units
    if boxed and isinstance(own, FullRange) and isinstance(radius, ImageRadius) and not _has_8_bits(radius):
        raise ValueError("a box about an image without a window needs one grey channel of 8 bits")


def _shown(rendering: Rendering) -> object:
    """Returns what renders a variant, the same for all names of one rendering."""
    match rendering:
        case WindowVariant(window=window):
            return _shown_window(window)
        case CellVariant():
            return rendering.function, rendering.centre, rendering.width
        case _:
            return rendering


def _shown_window(window: AppliedWindow) -> object:
    """Returns function, centre and width that a window is rendered with, whoever chose it; else the window."""
    if isinstance(window, RoundedWindow):
        return window.function, window.rendered_centre, window.rendered_width
    if isinstance(window, UnroundedWindow):
        return window.function, window.centre, window.width
    return window


def _has_8_bits(radius: ImageRadius) -> bool:
    """Returns whether an image without a window has one channel of 8 bits: its slope then is 1/255."""
    return (radius.unit, radius.region.channels, round(1 / radius.factors.slope)) == ("grey level", 1, _WHITE_8)


def _place_in_header(window: AppliedWindow | None) -> tuple[str, int] | tuple[()]:
    """Returns the kind and the number of a window or table of a header; nothing for another window."""
    return (window.kind, window.number) if isinstance(window, HeaderTable | WindowOfHeader) else ()


def _check_rows(statement: Statement, claim: StatedVariants, class_index: int) -> None:
    request = statement.request
    if claim.class_index != class_index:
        raise ValueError("the class of the variants must be that of the document")
    if not claim.rows or not isinstance(request.sigma, FixedSigma):
        raise ValueError("a document with a class and a fixed sigma must have sampled every variant")
    split = request.params.alpha_split(len(statement.classifier.class_names))
    for row in claim.rows:
        _check_row(row, claim.n, class_index, split, request.sigma.sigma)
    smallest = min(row.radius for row in claim.rows)
    held = smallest > 0 and smallest >= claim.asked_radius
    if (claim.radius, claim.held) != (smallest, held):
        raise ValueError(f"the radius must be the smallest, {smallest}, and held must be {held}")
    if claim.counterexample != (None if held else _least(claim.rows, class_index)):
        raise ValueError("the counterexample must be the variant that shows least, where one fails")


def _check_row(row: StatedVariant, n: int, class_index: int, split: AlphaSplit, sigma: float) -> None:
    labels = parse_labels(row.estimation.labels)
    checks.counts(row.estimation, labels)
    checks.root(row.estimation, labels)
    counts = LabelCounts(per_class=row.estimation.per_class, invalid=row.estimation.invalid)
    if counts.total != n or not 0 <= class_index < len(counts.per_class):
        raise ValueError(f"every variant must have {n} samples of the classes, got {counts.total}")
    bounds = Bounds(checks.units(row.p_a_lower, MILLIONTHS), checks.units(row.p_b_upper, MILLIONTHS))
    look = Look(n, counts.per_class[class_index], counts.runner_up(class_index))
    if not is_clopper_pearson(bounds, look, split):
        raise ValueError(f"{bounds} do not follow from the labels of a variant")
    if checks.units(row.radius, TEN_THOUSANDTHS) not in radii(bounds, sigma):
        raise ValueError(f"the radius {row.radius} does not follow from the bounds of a variant")


def _least(rows: Sequence[StatedVariant], class_index: int) -> int:
    return min(range(len(rows)), key=lambda at: (rows[at].radius, rows[at].estimation.per_class[class_index]))
