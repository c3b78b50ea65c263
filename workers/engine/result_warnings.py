"""What a reader of a result must know before the radius."""

from certrad.models.types import BackboneCard
from certrad.models.types.image import IMAGE_WARNINGS, ImageFacts
from certrad.models.types.result import ResultWarning


def result_warnings(image: ImageFacts, card: BackboneCard) -> tuple[ResultWarning, ...]:
    """Returns the warnings of a result: those about its image, then the remark of the backbone's card if it has one.

    Args:
        image: The facts of the image.
        card: The card of the backbone.
    """
    of_image = (ResultWarning(code=code, message=IMAGE_WARNINGS[code]) for code in image.warnings)
    return (*of_image, *((ResultWarning(code="backbone_note", message=card.notes),) if card.notes else ()))
