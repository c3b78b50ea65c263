"""What a reader of a result must know before the radius."""

from typing import Final

from certrad.models.types import BackboneCard, PromptCard
from certrad.models.types.image import IMAGE_WARNINGS, ImageFacts
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.result import ResultWarning

_SPACES: Final[dict[NoiseSpace, str]] = {"model_input": "the model input", "image": "the image's own pixels"}


def result_warnings(
    image: ImageFacts, card: BackboneCard, prompt: PromptCard | None = None, space: NoiseSpace = DEFAULT_NOISE_SPACE
) -> tuple[ResultWarning, ...]:
    """Returns the warnings of a result: of its image, of a prompt tuned under other noise, the remark of the backbone.

    Args:
        image: The facts of the image.
        card: The card of the backbone.
        prompt: The card of the learned prompt; None for a template.
        space: What noise was added to.
    """
    of_image = (ResultWarning(code=code, message=IMAGE_WARNINGS[code]) for code in image.warnings)
    remark = (ResultWarning(code="backbone_note", message=card.notes),) if card.notes else ()
    return (*of_image, *_of_prompt(prompt, space), *remark)


def _of_prompt(prompt: PromptCard | None, space: NoiseSpace) -> tuple[ResultWarning, ...]:
    """Returns a warning where a prompt was tuned under noise on something else."""
    if prompt is None or not prompt.tuning.get("sigmas"):
        return ()
    tuned: NoiseSpace = "image" if prompt.tuning.get("noise_space") == "image" else "model_input"
    if tuned == space:
        return ()
    message = (
        f"The prompt was tuned under noise on {_SPACES[tuned]}, and this certificate has noise on {_SPACES[space]}. "
        "The certificate is not affected; a prompt that was tuned under the same noise may show a larger radius."
    )
    return (ResultWarning(code="prompt_noise_space", message=message),)
