"""What is drawn beside a certificate: an example of its radius, radius against samples, and other renderings.

None is a part of the certificate; all can be computed again from it, from the image and from the model.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Figure = Literal["example", "curve", "renderings"]
Validity = Literal["alone", "together"]
FIGURES: Final[tuple[Figure, ...]] = ("example", "curve", "renderings")

EXAMPLE_NOTE: Final = (
    "One example of a change whose L2 norm is the certified radius, towards the runner-up. It is not the worst case, "
    "the class of the changed image was not computed, and the certificate does not rest on it."
)
RENDERINGS_NOTE: Final = (
    "What the model saw of each rendering, rounded to 8 bits, to look at. The certificate names each model input by "
    "its digest, and rests on none of these images."
)
CURVE_NOTES: Final[dict[Validity, str]] = {
    "alone": (
        "Each point is the bound of a run that would have been planned with that number of samples. Each is valid "
        "alone, and not all of them at once. Only the last one is the certificate's."
    ),
    "together": (
        "Each point is what the confidence sequences had shown by then. All of them are valid at once, with the "
        "certificate's probability. Only the last one is the certificate's."
    ),
}


def _doc(description: str) -> dict[str, Any]:
    return {"description": description}


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusExample:
    """One image within the certified radius, as the difference from the model input.

    Attributes:
        radius: The certified radius.
        norm: L2 norm of the difference, rounded down to 8 decimals.
        class_index: The certified class.
        label: Its name.
        runner_up_index: The class that the change leads to.
        runner_up_label: Its name.
        runner_up_by: How the runner-up was chosen.
        shape: Rows, columns and channels of the model input.
        unit: Value of a difference of 1, a power of two.
        max_abs: Largest absolute difference.
        difference: The difference in `unit`: base64 of little-endian int16 by rows, columns and channels.
        note: What must be said beside the picture.
    """

    radius: float = field(metadata=_doc("the certified radius, an L2 norm on the model input in [0, 1]"))
    norm: float = field(
        metadata=_doc(
            "L2 norm of the difference, rounded down to 8 decimals; never above `radius`, and visibly below it only "
            "where [0, 1] leaves no room"
        )
    )
    class_index: int
    label: str
    runner_up_index: int = field(metadata=_doc("the class that the change leads to"))
    runner_up_label: str
    runner_up_by: Literal["estimation_counts", "mean_logits"] = field(
        metadata=_doc(
            "`estimation_counts`: the most frequent other class among the estimation samples; `mean_logits`, where "
            "there is none: the class with the largest mean logit under noise"
        )
    )
    shape: tuple[int, int, int] = field(metadata=_doc("rows, columns and channels of the model input"))
    unit: float = field(metadata=_doc("value of a difference of 1, a power of two; pixels are in [0, 1]"))
    max_abs: float = field(metadata=_doc("largest absolute difference of a value, pixels in [0, 1]"))
    difference: str = field(
        metadata=_doc(
            "changed image minus model input, in `unit`: base64 of little-endian 16-bit signed integers in the order "
            "rows, columns, channels"
        )
    )
    note: str = field(default=EXAMPLE_NOTE, metadata=_doc("to be shown beside the picture"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The bounds after some of the estimation samples.

    Attributes:
        samples: Estimation samples, the first ones in index order.
        p_a_lower: Lower bound of the class's probability.
        p_b_upper: Upper bound of every other class's probability.
        radius: The radius that follows; None where none does.
    """

    samples: int = field(metadata=_doc("estimation samples: the first ones in the order of the signed document"))
    p_a_lower: float
    p_b_upper: float
    radius: float | None = field(metadata=_doc("null where these bounds show no radius"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusCurve:
    """Bounds and radius against the number of estimation samples.

    Attributes:
        class_index: The class, which the selection samples chose.
        label: Its name.
        valid: Whether the points are valid each alone, or all together.
        points: The points, by samples; the last one has the numbers of the certificate.
        note: What must be said beside the curve.
    """

    class_index: int
    label: str
    valid: Validity = field(
        metadata=_doc(
            "`alone`: each point is valid alone, and not all at once; `together`, with a target radius: all are valid "
            "at once, because they are points of confidence sequences"
        )
    )
    points: tuple[CurvePoint, ...]
    note: str = field(metadata=_doc("to be shown beside the curve"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderingImages:
    """The model inputs of the variants of an image, to look at.

    Attributes:
        images: A PNG for each row of `variants` of the result, in base64; None for one that is not kept.
        note: What must be said beside the images.
    """

    images: tuple[str | None, ...] = field(
        metadata=_doc(
            "a PNG in base64 for each of the `rows` of `variants`, in their order; null for one that is not kept: of "
            "very many renderings the counterexample and some others are"
        )
    )
    note: str = field(default=RENDERINGS_NOTE, metadata=_doc("to be shown beside the images"))
