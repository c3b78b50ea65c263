"""The radius in the image's own units as a sentence, for the structured report and the FHIR bundle."""

from certrad.models.types.image import ImageRadius, NoImageRadius
from certrad.workers.reports.texts import Texts


def image_radius(radius: ImageRadius | NoImageRadius, texts: Texts) -> str:
    """Returns the radius in the image's own units as a sentence, or the sentence that says why there is none.

    Args:
        radius: The radius.
        texts: The texts of the report's language.
    """
    if isinstance(radius, NoImageRadius):
        return texts("image_radius.none", reason=texts.no_image_radius(radius))
    unit = texts.unit(radius.unit)
    budgets = "".join(
        texts("image_radius.budget", change=texts.number(each.change), unit=unit, pixels=str(each.max_pixels))
        for each in radius.pixels
        if each.max_pixels
    )
    return texts(
        "image_radius.sentence",
        radius=texts.number(radius.l2),
        uniform=texts.number(radius.uniform_change),
        unit=unit,
        budgets=budgets,
    )
