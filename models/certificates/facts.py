"""All that a certificate states, as types: the write side begins here."""

from collections.abc import Mapping
from dataclasses import dataclass

from certrad.models.types import CertifyRequest
from certrad.models.types.calibration import PredictionSetEvidence
from certrad.models.types.evidence import Evidence
from certrad.models.types.grey_values import GreyImage
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity, Subject
from certrad.models.types.image import ImageRecord, ImageScale
from certrad.models.types.parameters import ParametersEvidence
from certrad.models.types.variants import UnsmoothedEvidence, VariantsEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a certificate states; the document and a job's result are two spellings of it.

    Attributes:
        request: What was asked for.
        evidence: The labels of the samples, and the outcome that follows from them.
        subject: The image, by digest.
        scale: How far a change of the image can move the model input.
        classifier: The base classifier, by digest.
        noise: What the noise can be drawn again from.
        software: Name -> version of what computed it, with the digest of the code.
        variants: The samples of other renderings of the file, or answers without noise; None where none were asked for.
        parameters: The samples under noise on the window; None where none were asked for.
        grey: The values before the window, by digest; None where no noise on it was asked for.
        prediction_set: The prediction set; None where none was asked for.
    """

    request: CertifyRequest
    evidence: Evidence
    subject: Subject
    scale: ImageScale
    classifier: ClassifierIdentity
    noise: NoiseIdentity
    software: Mapping[str, str]
    variants: VariantsEvidence | UnsmoothedEvidence | None = None
    parameters: ParametersEvidence | None = None
    grey: GreyImage | None = None
    prediction_set: PredictionSetEvidence | None = None


def build_facts(
    request: CertifyRequest,
    evidence: Evidence,
    image: ImageRecord,
    classifier: ClassifierIdentity,
    noise: NoiseIdentity,
    software: Mapping[str, str],
    variants: VariantsEvidence | UnsmoothedEvidence | None = None,
) -> Facts:
    """Returns the facts of a certificate.

    Args:
        request: What was asked for.
        evidence: The labels of the samples, and the outcome that follows from them.
        image: The decoded image.
        classifier: The base classifier, by digest.
        noise: What the noise can be drawn again from.
        software: Name -> version of what computed it, with the digest of the code.
        variants: The samples of other renderings of the file, or answers without noise; None where none were asked for.
    """
    subject = Subject(
        pixels_sha256=image.pixels_sha256,
        input_sha256=image.input_sha256,
        input_shape=image.shape,
        window=image.window,
    )
    return Facts(
        request=request,
        evidence=evidence,
        subject=subject,
        scale=image.scale,
        classifier=classifier,
        noise=noise,
        software=software,
        variants=variants,
        grey=image.grey,
    )
