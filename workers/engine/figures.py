"""The figures that the engine makes beside a certificate; none of them changes it, and an error in one ends no job."""

import base64
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from certrad.models.attacks.radius_example import ExampleParams, NoDirectionError, change_within
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.images.png import encode_png
from certrad.models.smoothing.curve import radius_curve
from certrad.models.types import Certificate, CertifyRequest, FixedSigma
from certrad.models.types.evidence import Evidence
from certrad.models.types.figures import Figure, RadiusCurve, RadiusExample, RenderingImages
from certrad.workers.queue import stopping

_SHARE: Final = 0.05  # of the time of a certificate, for an example
_MOST_OF_RENDERINGS: Final = 6 << 20  # bytes of all their images
_PURPOSE: Final = b"certrad radius example"
_CURVE: Final = TypeAdapter(RadiusCurve)
_EXAMPLE: Final = TypeAdapter(RadiusExample)
_RENDERINGS: Final = TypeAdapter(RenderingImages)
_log = structlog.get_logger()


def curve(request: CertifyRequest, evidence: Evidence, job_id: str) -> bytes:
    """Returns the JSON of radius against samples; empty where there is no such curve.

    Args:
        request: The request.
        evidence: The labels, and the outcome that follows from them.
        job_id: The job's id, for the log.

    Raises:
        StopRequested: The process is to stop.
    """
    sigma = request.sigma
    if not isinstance(sigma, FixedSigma):
        return b""

    def drawn() -> bytes:
        points = radius_curve(evidence, request.params.at(sigma.sigma), request.classifier.class_names)
        return b"" if points is None else _CURVE.dump_json(points)

    return _or_nothing("curve", job_id, drawn)


def example(
    request: CertifyRequest,
    evidence: Evidence,
    pixels: NDArray[Any],
    classifier: VisionLanguageClassifier,
    key: bytes,
    job_id: str,
) -> bytes:
    """Returns the JSON of one image within the radius; empty for an abstention, and where it cannot be made.

    Equal arguments give equal bytes on one machine.

    Args:
        request: The request.
        evidence: The labels, and the outcome that follows from them.
        pixels: (C, H, W), the model input.
        classifier: The base classifier at the sigma of the evidence.
        key: The noise key, from which the seed follows.
        job_id: The job's id, for the log.

    Raises:
        StopRequested: The process is to stop.
    """
    certificate = evidence.outcome
    if not isinstance(certificate, Certificate):
        return b""
    return _or_nothing("example", job_id, lambda: _example(request, evidence, certificate, pixels, classifier, key))


def renderings(inputs: Iterable[tuple[int, NDArray[Any]]], count: int, job_id: str) -> bytes:
    """Returns the JSON of what the model saw of variants, as many as fit; empty where it cannot be made.

    Args:
        inputs: Places of variants with their model inputs, (C, H, W) in [0, 1]; the most important ones first.
        count: How many variants there are.
        job_id: The job's id, for the log.

    Raises:
        StopRequested: The process is to stop.
    """

    def drawn() -> bytes:
        images: dict[int, str] = {}
        left = _MOST_OF_RENDERINGS
        for place, pixels in inputs:
            stopping.raise_if_stopped()
            image = base64.b64encode(encode_png(pixels)).decode()
            if (left := left - len(image)) < 0:
                break
            images[place] = image
        return _RENDERINGS.dump_json(RenderingImages(images=tuple(map(images.get, range(count)))))

    return _or_nothing("renderings", job_id, drawn)


def _or_nothing(figure: Figure, job_id: str, make: Callable[[], bytes]) -> bytes:
    """Returns a figure; empty where making it fails, which is logged with a code."""
    try:
        return make()
    except stopping.StopRequested:
        raise
    except Exception as error:  # whatever it was, the certificate is made and needs no figure
        reason = "no_direction" if isinstance(error, NoDirectionError) else "figure_failed"
        _log.warning("figure left out", job_id=job_id, figure=figure, reason=reason, error=type(error).__name__)
        return b""


def _example(
    request: CertifyRequest,
    evidence: Evidence,
    certificate: Certificate,
    pixels: NDArray[Any],
    classifier: VisionLanguageClassifier,
    key: bytes,
) -> bytes:
    class_index, names = certificate.class_index, request.classifier.class_names
    backbone, runner_up = classifier.backbone, _runner_up(evidence, class_index)
    # Another generator than that of the certificate's noise: nothing of the estimation depends on these draws.
    seed = int.from_bytes(hashlib.sha256(_PURPOSE + key).digest()[:8], "big")
    change = change_within(
        pixels.astype(np.float32),
        classifier.logits,
        class_index=class_index,
        runner_up=runner_up,
        sigma=evidence.sigma,
        radius=certificate.radius,
        params=ExampleParams.within(_SHARE, evidence.samples_used, backbone.device, backbone.dtype),
        generator=torch.Generator().manual_seed(seed),
        device=backbone.device,
        on_step=stopping.raise_if_stopped,
    )
    rows_first = np.ascontiguousarray(change.steps.transpose(1, 2, 0), dtype="<i2")
    rows, columns, channels = rows_first.shape
    return _EXAMPLE.dump_json(
        RadiusExample(
            radius=certificate.radius,
            norm=change.norm,
            class_index=class_index,
            label=names[class_index],
            runner_up_index=change.runner_up,
            runner_up_label=names[change.runner_up],
            runner_up_by="mean_logits" if runner_up is None else "estimation_counts",
            shape=(rows, columns, channels),
            unit=change.unit,
            max_abs=change.max_abs,
            difference=base64.b64encode(rows_first.tobytes()).decode(),
        )
    )


def _runner_up(evidence: Evidence, class_index: int) -> int | None:
    """Returns the most frequent other class, the lowest index among ties; None where no other was counted."""
    others = {index: n for index, n in enumerate(evidence.estimation.per_class) if n and index != class_index}
    return max(others, key=lambda index: (others[index], -index)) if others else None
