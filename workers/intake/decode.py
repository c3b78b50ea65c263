"""Decodes the bytes of an untrusted image into the model input, in a sandbox, with the facts of the image."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage, check_size
from certrad.models.images.grey_values import GreyValues
from certrad.models.images.model_input import (
    ModelInput,
    direct_scale,
    image_scale,
    is_flat,
    model_input,
    rendered_image,
)
from certrad.models.images.rendered_image import RenderedImage
from certrad.models.types import BackboneCard, CertifyRequest, Region
from certrad.models.types.image import ImageFacts, ImageRecord
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.total_variation import most_values as most_noisy_values
from certrad.models.types.variants import VariantRecord, VariantsRequest
from certrad.models.types.window import FileWindow, RenderedWindow, RequestedWindow, Unrounded
from certrad.workers.contract.drift_labels import DriftLabel
from certrad.workers.decoders.acquisition import acquisition_labels
from certrad.workers.intake.file_decoding import decode_file
from certrad.workers.intake.grey_values import GREY_IMAGE, GREY_VALUES_MAX, read_grey_values
from certrad.workers.intake.variants import PixelTally, Source, read_variants, render_variants
from certrad.workers.sandbox.child import Answer, allow_cpu_seconds, run_limited
from certrad.workers.settings import WorkerSettings

_FACTS: Final = TypeAdapter(ImageFacts)
_LABELS: Final = TypeAdapter(dict[DriftLabel, Annotated[str, Field(max_length=64)]])
_CPU_FLOOR: Final = 5.0  # imports and the libraries' own start
_CPU_PER_BYTE: Final = 0.25e-6
_VALUE_BYTES: Final = 8  # of a rendered image, float64
_CPU_PER_PIXEL: Final = 0.5e-6


def decode_limited(
    data: bytes, request: CertifyRequest, card: BackboneCard, settings: WorkerSettings, *, rounded: bool = True
) -> tuple[ModelInput, ImageRecord]:
    """Returns the model input of an upload, decoded in a sandbox, and the facts of its image; see `decode_labelled`."""
    return decode_labelled(data, request, card, settings, rounded=rounded)[:2]


def decode_labelled(
    data: bytes, request: CertifyRequest, card: BackboneCard, settings: WorkerSettings, *, rounded: bool = True
) -> tuple[ModelInput, ImageRecord, dict[DriftLabel, str]]:
    """Returns the model input of an upload, decoded in a sandbox, the facts of its image, and its labels for drift.

    Args:
        data: The upload, a PNG, JPEG, TIFF or DICOM file.
        request: Names the frame, the region and the window.
        card: The backbone of the request, which names the size of the model input.
        settings: Limits of the sandbox.
        rounded: Whether windows are rounded to the lattice; those of certificates from before it are not.

    Raises:
        Rejected: The bytes or the request are to blame.
        SandboxError: Our code is to blame.
    """
    most = most_noisy_values(request.sigma.largest) if request.noise_space == "image" else 0
    size, variants = ModelInput.size_in_bytes(card.image_size), 0 if request.variants is None else settings.variants_max
    grey = 0 if request.parameter_sigma is None else GREY_VALUES_MAX
    answer = run_limited(
        partial(
            decode_bytes,
            data,
            card,
            max_pixels=settings.max_pixels,
            frame=request.frame,
            region=request.region,
            window=request.window,
            on_size=lambda pixels: allow_cpu_seconds(cpu_allowance(len(data) * (1 + variants), pixels)),
            labels=frozenset(settings.drift_labels.split(",")),
            scanner_models=settings.scanner_models,
            most_values=most or None,
            variants=request.variants,
            most_variants=variants,
            parameter_sigma=request.parameter_sigma,
            rounded=rounded,
        ),
        memory_bytes=settings.intake_memory_bytes,
        cpu_seconds=settings.intake_cpu_seconds,
        max_payload=size * (1 + variants) + (most + grey) * _VALUE_BYTES,
        hidden=settings.data_dir,
        first_cpu_seconds=cpu_allowance(len(data)),
    )
    try:
        pixels, image = _checked(answer, request, settings.max_pixels, card)
        return pixels, image, _LABELS.validate_python(answer.header.get("labels"))
    except (ValueError, ValidationError) as error:
        raise Rejected("unreadable_image", "the decoder crashed on this file") from error


def cpu_allowance(size: int, pixels: int = 0) -> int:
    """Returns the processor seconds that a file of `size` bytes, with so many pixels, may take to decode.

    That is about four times the measured time of JPEG 2000 in colour, the slowest, and some for the start. A small
    file cannot keep a worker busy for long, whatever its header says.

    Args:
        size: Bytes of the file.
        pixels: Its pixels; 0 before they are known.
    """
    return math.ceil(_CPU_FLOOR + size * _CPU_PER_BYTE + pixels * _CPU_PER_PIXEL)


def backbone_card(backbone: str, known: Mapping[str, BackboneCard]) -> BackboneCard:
    """Returns the card of a backbone.

    Args:
        backbone: Its id.
        known: The backbones by id.

    Raises:
        Rejected: `unknown_backbone`.
    """
    if (card := known.get(backbone)) is None:
        raise Rejected("unknown_backbone", f"`backbone` must be one of GET /backbones, got {backbone!r}")
    return card


def decode_bytes(
    data: bytes,
    card: BackboneCard,
    *,
    max_pixels: int,
    frame: int | None = None,
    region: Region | None = None,
    window: RequestedWindow = FileWindow(),  # noqa: B008  # frozen
    on_size: Callable[[int], None] | None = None,
    labels: Collection[str] = (),
    scanner_models: Collection[str] = (),
    most_values: int | None = None,
    variants: VariantsRequest | None = None,
    most_variants: int = 0,
    parameter_sigma: ParameterSigma | None = None,
    rounded: bool = True,
) -> tuple[dict[str, Any], bytes]:
    """Returns the facts and digest of an image, and its model input; runs in the sandbox.

    Where noise is to be added to the rendered image, that follows the model input; where variants are asked for, their
    model inputs do; where noise on the window is asked for, the values before the window do.

    Args:
        data: The upload.
        card: The backbone, which names the size of the model input.
        max_pixels: Pixels that are decoded, at most.
        frame: Frame of a multi-frame image, from 1.
        region: The part of the image to decode.
        window: The window of a grey image.
        on_size: Called with the number of pixels once it is known and allowed, before one of them is decoded; of
            variants, with the pixels of all of them so far.
        labels: The labels of `acquisition_labels` that are wanted.
        scanner_models: The scanner models that are labels.
        most_values: Values of the rendered image that noise may be added to; None where it is not.
        variants: The variants that are asked for, if any.
        most_variants: How many there may be.
        parameter_sigma: The noise on the window that is asked for, if any.
        rounded: Whether windows are rounded to the lattice.

    Raises:
        Rejected: The bytes, the frame, the region or the window are to blame; `image_too_large_for_noise`;
            `too_many_variants`, `variant_unavailable`; or `parameters_unavailable`.
    """
    if not data:
        raise Rejected("empty_image", "the image must not be empty, got 0 bytes")
    tally = PixelTally(on_size)

    def again(other: RenderedWindow, number: int | None, part: Region | None) -> DecodedImage:
        shown = other if rounded or isinstance(other, Unrounded) else Unrounded(window=other)
        return decode_file(data, max_pixels=max_pixels, frame=number, region=part, window=shown, on_size=tally.add)

    image = again(window, frame, region)
    seen = model_input(image, card.image_size, card.fit)
    rows, columns = image.pixels.shape[:2]
    flat = is_flat(seen, (rows, columns), card.fit)
    facts = replace(image.facts, warnings=("low_contrast", *image.facts.warnings)) if flat else image.facts
    header = {
        "facts": _FACTS.dump_python(facts, mode="json"),
        "pixels_sha256": image.sha256,
        "labels": acquisition_labels(data, labels, scanner_models) if facts.format == "dicom" else {},
    }
    rendered = b"" if most_values is None else _rendered(image, card, most_values).tobytes()
    if variants is not None:
        source = Source(first=image, decode=again, window=window, region=region, tally=tally)
        header["variants"], inputs = render_variants(source, variants, most_variants, card)
        rendered += inputs
    if parameter_sigma is not None:
        values = read_grey_values(image, card)
        header["grey"] = GREY_IMAGE.dump_python(values.named, mode="json")
        rendered += values.tobytes()
    return header, seen.tobytes() + rendered


def _rendered(image: DecodedImage, card: BackboneCard, most_values: int) -> RenderedImage:
    """Returns the rendered image, to which noise is to be added.

    Raises:
        Rejected: `image_too_large_for_noise`.
    """
    rendered = rendered_image(image, card.image_size, card.fit)
    channels, rows, columns = rendered.pixels.shape
    if rendered.pixels.size > most_values:
        raise Rejected(
            "image_too_large_for_noise",
            f"`noise_space=image` allows at most {most_values} values (pixels times channels) at this sigma; the model "
            f"sees {rows} x {columns} x {channels} of this image: send a `region`, or leave `noise_space` out",
        )
    return rendered


def _checked(
    answer: Answer, request: CertifyRequest, max_pixels: int, card: BackboneCard
) -> tuple[ModelInput, ImageRecord]:
    """Returns the answer of the sandbox after all checks that are possible.

    Raises:
        ValueError: The answer is malformed.
        Rejected: The image or the region has a wrong size.
    """
    size = ModelInput.size_in_bytes(card.image_size)
    records: tuple[VariantRecord, ...] = ()
    whole = request.noise_space == "model_input" and request.variants is None and request.parameter_sigma is None
    pixels = ModelInput.from_bytes(answer.payload if whole else answer.payload[:size], card.image_size)
    if request.variants is not None:
        pixels, records = read_variants(pixels, answer.header.get("variants"), answer.payload[size:])
    grey = None
    if request.parameter_sigma is not None:
        grey = GREY_IMAGE.validate_python(answer.header.get("grey"))
        pixels = replace(pixels, grey=GreyValues.from_bytes(answer.payload[size:], grey))
    facts = _FACTS.validate_python(answer.header.get("facts"))
    check_size(rows=facts.rows, columns=facts.columns, max_pixels=max_pixels)
    scale, noisy = image_scale(facts, request.region, card.image_size, card.fit), None
    if request.noise_space == "image":
        shape = scale.channels, scale.rows, scale.columns
        pixels = replace(pixels, rendered=(rendered := RenderedImage.from_bytes(answer.payload[size:], shape)))
        sides = (facts.rows, facts.columns) if request.region is None else (request.region.h, request.region.w)
        scale, noisy = direct_scale(scale), rendered.named(sides, card.fit)
    digest = answer.header.get("pixels_sha256")
    if not isinstance(digest, str):
        raise ValueError(f"pixels_sha256 must be 64 hexadecimal digits, got {type(digest).__name__}")
    channels, height, width = pixels.pixels.shape
    return pixels, ImageRecord(
        **{field.name: getattr(facts, field.name) for field in fields(facts)},
        pixels_sha256=digest,
        input_sha256=pixels.sha256,
        shape=(channels, height, width),
        scale=scale,
        noisy=noisy,
        variants=records,
        grey=grey,
    )
