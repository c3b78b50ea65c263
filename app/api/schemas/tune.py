"""The fields of POST /prompts, and the request they make with every default filled in."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, Json, StringConstraints

from certrad.app.api.schemas.certify import Identifier, Words, validate_form
from certrad.app.api.schemas.submission import SubmissionForm
from certrad.models.types.cards import ContextPosition
from certrad.models.types.noise_space import NoiseSpace
from certrad.models.types.smoothing import SIGMA_RANGE
from certrad.models.types.tuning import (
    BATCH_MAX,
    EPOCHS_MAX,
    N_CTX_MAX,
    PROMPT_NAME,
    SHOTS_MAX,
    Acquisition,
    TuningMethod,
)

PromptName = Annotated[str, StringConstraints(pattern=f"^{PROMPT_NAME.pattern}$")]
Sigma = Annotated[float, Field(ge=SIGMA_RANGE[0], le=SIGMA_RANGE[1])]


class TuningForm(SubmissionForm):
    """The fields of one request, beside the images; the training fields default to the published values."""

    name: PromptName | None = Field(
        None,
        description="begins the id of the prompt; default: the task, or `prompt`, and the method",
        examples=["chest-2026"],
    )
    method: TuningMethod = Field(
        "few_shot",
        description="`few_shot` tunes on noisy images (PromptSmooth), `coop` on clean ones, `advpt` on adversarial "
        "embeddings (AdvPT)",
    )
    backbone: Identifier | None = Field(
        None, description="id of GET /backbones; default: the task's own", examples=["demo"]
    )
    adapter: Identifier | None = Field(
        None,
        description="id of GET /adapters: the prompt is tuned on the adapted image encoder, and used with this adapter "
        "only; `none` for the frozen encoder; default: the task's, else `none`",
        examples=["none"],
    )
    task: Identifier | None = Field(
        None,
        description="id of GET /tasks whose classes the folders hold; they may be called as its published data set is",
    )
    classes: Json[list[Words]] | None = Field(
        None,
        description="class names as a JSON list, instead of `task`; with neither they are the names of the folders. "
        "Folders named like the classes, but for case, spaces and punctuation, are matched by name, others in sorted "
        "order, numbers by their value",
        examples=['["chest X-ray", "head CT"]'],
    )
    shots: int | None = Field(
        None, ge=1, le=SHOTS_MAX, description="images of each class to tune on; default 16, with `advpt` all"
    )
    epochs: int | None = Field(
        None, ge=1, le=EPOCHS_MAX, description="passes over the images; default 50, with `advpt` 100"
    )
    lr: float | None = Field(None, gt=0, le=1, description="learning rate of SGD; default 0.002, with `advpt` 0.005")
    batch_size: int | None = Field(
        None, ge=1, le=BATCH_MAX, description="images of one step; default 16, with `advpt` 32"
    )
    n_ctx: int | None = Field(
        None, ge=1, le=N_CTX_MAX, description="number of context vectors; default 5, with `advpt` 32"
    )
    class_specific: bool | None = Field(None, description="context vectors for each class; default false")
    position: ContextPosition | None = Field(None, description="place of the class name in the prompt; default `end`")
    sigmas: Json[Annotated[list[Sigma], Field(min_length=1, max_length=16)]] | None = Field(
        None,
        description="noise levels as a JSON list; only with `few_shot`; default [0.25, 0.5, 0.75, 1.0]",
        examples=["[0.25, 0.5]"],
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="random seed of the choice of images, the first context vectors and the noise; default 0",
    )
    noise_space: NoiseSpace | None = Field(
        None,
        description="what the noise of `few_shot` is added to, for certificates with the same `noise_space`: with "
        "`image`, `sigmas` are in the pixels of the images, which must all have one size; default `model_input`",
    )
    acquisition: Acquisition | None = Field(
        None,
        description="`radiology`: every image is shown in every epoch under another window, background level, gamma "
        "and frame, so that the prompt does not learn the background of a class; only with `few_shot`; default `none`",
    )


def parse(fields: Iterable[tuple[str, str]]) -> TuningForm:
    """Returns the form with these fields.

    Raises:
        InvalidRequest: A field is wrong.
        Rejected: unknown_field.
    """
    return validate_form(TuningForm, fields)
