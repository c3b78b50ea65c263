"""What a document and a result say about variants: their claim, and its words."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from certrad.models.certificates.labels import merkle_root, run_lengths
from certrad.models.certificates.stated_samples import StatedSamples, StatedVariant, StatedVariants
from certrad.models.certificates.window_box_text import ShownImage, box_text, boxes_of_lists
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
from certrad.models.types.evidence import label_numbers
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
from certrad.models.types.result import VariantResult, VariantsResult
from certrad.models.types.variants import VariantRecord, VariantsEvidence, VariantsRequest

NOTHING_ELSE: Final = (
    "It says nothing about other renderings, whether the class is right, or whether a finding is visible in them."
)
LIMITS_MEANT: Final = (
    "What the limits say of other windows, crops and files, and of alpha, is about the radius of the file as it was "
    "sent."
)
NO_CLASS: Final = "no class"


def state_variants(
    asked: VariantsRequest,
    found: VariantsEvidence,
    class_names: Sequence[str],
    alpha: float,
    shown: ShownImage,
) -> StatedVariants:
    """Returns what a document states about variants.

    Args:
        asked: What was asked for.
        found: Their samples, and what these show.
        class_names: The names of the classes, in order.
        alpha: Failure probability of the claim about all of them.
        shown: The image, which boxes of windows are about.
    """
    rows = tuple(
        StatedVariant(
            rendering=row.variant.rendering,
            input_sha256=row.variant.input_sha256,
            key=row.key,
            estimation=_samples(row.labels, row.counts),
            p_a_lower=row.p_a_lower,
            p_b_upper=row.p_b_upper,
            radius=row.radius,
        )
        for row in found.rows
    )
    stated = StatedVariants(
        rule="minimum",
        lists=asked.lists,
        asked_radius=asked.radius,
        n=asked.n,
        class_index=found.class_index,
        held=found.held,
        radius=found.radius,
        counterexample=found.counterexample,
        rows=rows,
        text="",
    )
    return replace(stated, text=variants_text(stated, class_names, alpha, shown))


def variants_result(stated: StatedVariants, class_names: Sequence[str], window: AppliedWindow | None) -> VariantsResult:
    """Returns what the result of a job says about variants: the claim of the document without its samples.

    Args:
        stated: The claim.
        class_names: The names of the classes, in order.
        window: The window that was applied to the image.
    """
    rows = tuple(
        VariantResult(
            rendering=row.rendering,
            name=describe(row.rendering),
            label=top_label(row.estimation, class_names),
            samples=stated.n,
            agreeing=row.estimation.per_class[stated.class_index or 0],
            p_a_lower=row.p_a_lower,
            p_b_upper=row.p_b_upper,
            radius=row.radius,
            input_sha256=row.input_sha256,
        )
        for row in stated.rows
    )
    return VariantsResult(
        held=stated.held,
        tried=len(rows),
        radius=stated.radius,
        asked_radius=stated.asked_radius,
        counterexample=None if stated.counterexample is None else rows[stated.counterexample],
        rows=rows,
        text=stated.text,
        boxes=tuple(boxes_of_lists(stated.lists, window)),
    )


def variants_text(claim: StatedVariants, class_names: Sequence[str], alpha: float, shown: ShownImage) -> str:
    """Returns a claim about variants in words; the words that it has already play no part.

    Args:
        claim: The claim.
        class_names: The names of the classes, in order.
        alpha: Failure probability of the claim.
        shown: The image, which boxes of windows are about.

    Raises:
        ValueError: There is a box of windows, and the image has no window.
    """
    if claim.class_index is None:
        return "The certificate names no class, so that no variant was sampled."
    name, rows = class_names[claim.class_index], claim.rows
    if claim.counterexample is None:
        boxes = box_text(claim.lists, shown, f"{name} under noise")
        return (
            f"Every one of the {len(rows)} listed renderings of the file has the class {name} "
            f"under noise, and so has every change of its model input of L2 norm below {claim.radius!r}. This claim "
            "and that of the radius are each false with probability at most "
            f"{alpha!r}, together with at most {2 * alpha!r}. {boxes and boxes + ' '}{LIMITS_MEANT} {NOTHING_ELSE}"
        )
    wanted = name + (f" with a radius of at least {claim.asked_radius!r}" if claim.asked_radius else "")
    row = rows[claim.counterexample]
    agreeing, n = row.estimation.per_class[claim.class_index], sum(row.estimation.per_class) + row.estimation.invalid
    return (
        f"The class {wanted} was not shown for all of the {len(rows)} listed renderings of the file. Least was shown "
        f"for {describe(row.rendering)}: {agreeing} of its {n} samples have the class {name}, and "
        f"the most frequent answer is {top_label(row.estimation, class_names)}. {LIMITS_MEANT} {NOTHING_ELSE}"
    )


class RenderedVariant(Protocol):
    """A rendering with the digest of its model input, as a document states it."""

    @property
    def rendering(self) -> Rendering:
        """Its name."""
        ...

    @property
    def input_sha256(self) -> str:
        """SHA-256 of its model input."""
        ...


def check_variants(rows: Sequence[RenderedVariant], found: Sequence[VariantRecord]) -> None:
    """Checks that the variants of an image, rendered here, are those of a document.

    Another encoder of JPEG may make the same pixels, and then it is no difference.

    Args:
        rows: The variants of the document.
        found: The variants as they were rendered here.

    Raises:
        ValueError: One differs; the message says how.
    """
    if [_unencoded(row.rendering) for row in rows] != [_unencoded(each.rendering) for each in found]:
        raise ValueError("the variants of this image are not those of the certificate")
    for row, each in zip(rows, found, strict=True):
        if row.input_sha256 == each.input_sha256:
            continue
        if row.rendering != each.rendering:
            raise ValueError(
                f"the encoder of JPEG makes other pixels here: {_encoder(each.rendering)}, and "
                f"{_encoder(row.rendering)} made those of the certificate"
            )
        raise ValueError(f"the variants of this image are not those of the certificate: {describe(row.rendering)}")


def _unencoded(rendering: Rendering) -> Rendering:
    return replace(rendering, encoder="") if isinstance(rendering, JpegVariant) else rendering


def _encoder(rendering: Rendering) -> str:
    return rendering.encoder if isinstance(rendering, JpegVariant) else "none"


def describe(rendering: Rendering) -> str:
    """Returns the name of a rendering in words.

    Args:
        rendering: The rendering.
    """
    match rendering:
        case WindowVariant(window=window):
            return _window(window)
        case CellVariant(centre=centre, width=width):
            return f"window of centre {centre:g}, width {width:g} on the lattice"
        case ShiftVariant(down=down, right=right):
            return f"image moved by {down} pixels down and {right} to the right"
        case JpegVariant(quality=quality):
            return f"JPEG of quality {quality}"
        case BitsVariant(bits=bits):
            return f"{bits} bits"
        case FrameVariant(offset=offset):
            return f"frame {offset:+d} from that of the request"
        case RegionVariant(down=down, right=right):
            return f"region moved by {down} pixels down and {right} to the right"


def top_label(samples: StatedSamples, class_names: Sequence[str]) -> str:
    """Returns the most frequent answer of some samples.

    Args:
        samples: The samples.
        class_names: The names of the classes, in order.
    """
    top = LabelCounts(per_class=samples.per_class, invalid=samples.invalid).top
    return NO_CLASS if top is None else class_names[top]


def _window(window: AppliedWindow) -> str:
    match window:
        case WindowOfHeader(number=number, of=of):
            return f"window {number} of {of} of the header, centre {window.centre:g}, width {window.width:g}"
        case HeaderTable(number=number, of=of):
            return f"lookup table {number} of {of} of the header"
        case WindowOfTask(name=name):
            return f"preset {name}, centre {window.centre:g}, width {window.width:g}"
        case WindowOfRequest(centre=centre, width=width):
            return f"window of centre {centre:g}, width {width:g}"
        case PercentileRange():
            return "range of percentiles"
        case FullRange():
            return "full range"


def _samples(labels: bytes, counts: LabelCounts) -> StatedSamples:
    numbers = label_numbers(labels)
    return StatedSamples(
        per_class=counts.per_class,
        invalid=counts.invalid,
        labels=run_lengths(numbers),
        merkle_root=merkle_root(numbers),
    )
