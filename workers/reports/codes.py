"""The coded concepts of reports: the private scheme 99CERTRAD, and the standard codes that reports use beside it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from certrad.models.types import Rule, Scope
from certrad.models.types.code import Code as Code
from certrad.models.types.rejection import UNLIKE

SCHEME: Final = "99CERTRAD"
SCHEME_UID: Final = "2.25.298579937226955216377629950047517672000"
SCHEME_VERSION: Final = "1"
SCHEME_URL: Final = f"urn:oid:{SCHEME_UID}"
SCHEME_NAME: Final = "certrad concepts of certified classification"
_MAX_MEANING: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept(Code):
    """A concept of the scheme 99CERTRAD.

    Attributes:
        definition: What it means, for the published code list.
    """

    definition: str


def private_code(value: str, meaning: str) -> Code:
    """Returns a concept of the scheme 99CERTRAD without a definition, such as a class of a task."""
    return Code(value=value, scheme=SCHEME, meaning=meaning)


def _concept(value: str, meaning: str, definition: str) -> Concept:
    return Concept(value=value, scheme=SCHEME, meaning=meaning, definition=definition)


# -- outcome -------------------------------------------------------------------------------------------------------
OUTCOME: Final = _concept("CERT-OUTCOME", "Certification outcome", "Whether a class was certified for the image.")
CERTIFIED: Final = _concept(
    "CERTIFIED",
    "Class certified",
    "The smoothed classifier's class was certified together with a radius above zero.",
)
ABSTAINED: Final = _concept(
    "ABSTAINED",
    "Abstained",
    "No class and no radius could be certified. Nothing failed, and nothing is said about any class.",
)
ABSTENTION_REASON: Final = _concept(
    "ABSTAIN-REASON", "Reason for abstention", "Why no class was certified. One item for each reason."
)
NO_MAJORITY: Final = _concept(
    "NO-MAJORITY",
    "No class shown to have the majority",
    "The lower bound of the selected class's probability under noise is not above the upper bound of the others'.",
)
TARGET_NOT_CERTIFIABLE: Final = _concept(
    "TARGET-NOT-CERT",
    "Target radius cannot be shown",
    "Sampling stopped because the requested target radius could not be shown, or had become too unlikely to be shown.",
)
TOO_FEW_SAMPLES: Final = _concept(
    "TOO-FEW-SAMPLES",
    "Too few noisy samples",
    "Reserved, not issued yet. So few noisy samples were allowed that not even a unanimous result could certify a "
    "class.",
)
UNLIKE_TRAINING: Final = _concept(
    "UNLIKE-TRAINING",
    "Image unlike the tuning images",
    "The certified class is the extra class of the classifier: the image is unlike the images that it was tuned on. "
    "It is no finding about the patient, and no abstention.",
)
TARGET_OUTCOME: Final = _concept(
    "TARGET-OUTCOME", "Target radius outcome", "Whether the certified radius reaches the requested target radius."
)
TARGET_REACHED: Final = _concept(
    "TARGET-REACHED", "Target radius reached", "The certified radius is at least the requested target radius."
)
TARGET_MISSED: Final = _concept(
    "TARGET-MISSED",
    "Target radius missed",
    "The radius that could be shown is below the requested target radius. As the reason of an abstention it is "
    "reserved, not issued yet.",
)

# -- numbers -------------------------------------------------------------------------------------------------------
RADIUS: Final = _concept(
    "CERT-L2-RADIUS",
    "Certified L2 radius (lower bound)",
    "No change of the model input, with pixels in [0, 1], whose L2 norm is below this radius changes the smoothed "
    "class, except with the failure probability of the certificate. Rounded down.",
)
RENDERED_RADIUS: Final = _concept(
    "CERT-L2-RENDERED",
    "Certified L2 radius on the rendered image (lower bound)",
    "No change of the rendered image before it is resized, with pixels in [0, 1], whose L2 norm is below this radius "
    "changes the smoothed class, except with the failure probability of the certificate. Rounded down.",
)
P_A_LOWER: Final = _concept(
    "PA-LOWER",
    "Probability of the class, lower bound",
    "Lower confidence bound of the probability that the classifier returns the certified class under the noise. "
    "Rounded down. It is not the probability that the class is right.",
)
P_B_UPPER: Final = _concept(
    "PB-UPPER",
    "Probability of any other class, upper bound",
    "Upper confidence bound of the probability that the classifier returns any one other class under the noise. "
    "Rounded up.",
)
SIGMA: Final = _concept(
    "SMOOTH-SIGMA",
    "Smoothing noise standard deviation",
    "Standard deviation of the Gaussian noise that is added to each value of the model input, with pixels in [0, 1].",
)
RENDERED_SIGMA: Final = _concept(
    "RENDERED-SIGMA",
    "Noise standard deviation on the rendered image",
    "Standard deviation of the Gaussian noise that is added to each value of the rendered image before it is resized, "
    "with pixels in [0, 1].",
)
ALPHA: Final = _concept(
    "ALPHA",
    "Failure probability of the certificate",
    "Upper bound of the probability, over the noise, that a false certificate is issued for one submission.",
)
TARGET_RADIUS: Final = _concept(
    "TARGET-RADIUS", "Target radius", "Radius that the request named. Sampling stops as soon as it is shown."
)
N_ESTIMATION: Final = _concept(
    "N-CERT", "Maximum number of estimation samples", "Noisy samples allowed for bounding the probability of the class."
)
N_SELECTION: Final = _concept(
    "N-SELECT", "Number of selection samples", "Noisy samples that choose the class whose probability is bounded."
)
SAMPLES_USED: Final = _concept(
    "N-USED", "Number of samples used", "Noisy samples that were classified, for selection and estimation together."
)

# -- method and scope ----------------------------------------------------------------------------------------------
CLOPPER_PEARSON: Final = _concept(
    "RS-L2-CP",
    "Randomized smoothing L2 with Clopper-Pearson bounds",
    "Randomized smoothing with Gaussian noise; a fixed number of samples, bounded by Clopper-Pearson intervals.",
)
E_PROCESS: Final = _concept(
    "RS-L2-EPROCESS",
    "Randomized smoothing L2 with e-process bounds",
    "Randomized smoothing with Gaussian noise; sampling stops at a target radius, with bounds of e-processes that hold "
    "at every stop.",
)
CERTIFIED_SELECTION: Final = _concept(
    "RS-L2-SELECTION",
    "Randomized smoothing L2 with certified noise selection",
    "Randomized smoothing with Gaussian noise whose standard deviation is chosen for the image by a selector; the "
    "radius covers the choice too.",
)
SCOPE: Final = _concept("CERT-SCOPE", "Scope of the certificate", "Which classifier the certificate holds for.")
INPUT_INDEPENDENT: Final = _concept(
    "INPUT-INDEPEND",
    "Classifier fixed before the image",
    "The certificate holds for a classifier whose prompt does not depend on the image.",
)
FROZEN_PROMPT: Final = _concept(
    "FROZEN-PROMPT",
    "Prompt tuned to the image and frozen",
    "The certificate holds for the classifier with the prompt that was tuned on this image. It does not cover a "
    "service that would tune again on an altered image.",
)
SCOPE_TEXT: Final = _concept("SCOPE-TEXT", "Scope in words", "The scope of the certificate as a sentence.")
LIMITS: Final = _concept(
    "CERT-LIMITS", "Limits of the certificate", "What a reader must not read into the certificate. One item each."
)
INPUT_SPACE: Final = _concept(
    "INPUT-SPACE", "Input space of the radius", "The space whose L2 norm the radius is measured in."
)
RADIUS_IN_IMAGE: Final = _concept(
    "RADIUS-IN-IMAGE",
    "Radius in image units",
    "The certified radius as a change of the image that was sent, in the unit of its values, or why there is none.",
)

# -- certificate and image -----------------------------------------------------------------------------------------
CERTIFICATE_SHA256: Final = _concept(
    "CERT-SHA256",
    "SHA-256 of the certificate",
    "SHA-256 of the signed certificate document, 64 hexadecimal digits. The service returns the document by it.",
)
WARNING: Final = _concept(
    "CERT-WARNING", "Warning", "What a reader should know before trusting a class. One item for each warning."
)
LOW_CONTRAST: Final = _concept(
    "LOW-CONTRAST", "Model input of low contrast", "The model input spans less than a tenth of the grey scale."
)
NO_WINDOW: Final = _concept(
    "NO-WINDOW", "No window", "The file has no window, so the whole range of the stored bits was shown."
)
SEVERAL_WINDOWS: Final = _concept(
    "SEVERAL-WINDOWS", "Several windows", "The file has several windows or lookup tables, and the first one was used."
)
VOI_LUT_REDUCED: Final = _concept(
    "VOI-LUT-REDUCED", "VOI lookup table reduced", "The VOI lookup table uses fewer bits than it declares."
)
BURNED_IN: Final = _concept(
    "BURNED-IN",
    "Burned-in annotation likely",
    "The file states burned-in annotation, or is of a kind that often has text in its pixels.",
)

# -- standard codes ------------------------------------------------------------------------------------------------
FINDING: Final = Code(value="121071", scheme="DCM", meaning="Finding")
MEASUREMENT_METHOD: Final = Code(value="370129005", scheme="SCT", meaning="Measurement Method")
NO_UNITS: Final = Code(value="1", scheme="UCUM", meaning="no units")
ARTIFICIAL_INTELLIGENCE: Final = Code(value="123110", scheme="DCM", meaning="Artificial Intelligence")
SAMPLES: Final = Code(value="{samples}", scheme="UCUM", meaning="samples")

ABSTENTION_REASONS: Final[Mapping[str, Concept]] = {
    "no_majority": NO_MAJORITY,
    "target_not_certifiable": TARGET_NOT_CERTIFIABLE,
    "too_few_samples": TOO_FEW_SAMPLES,
    "target_missed": TARGET_MISSED,
}
"""Reason of an abstention, as results name it -> its concept; the last two are for releases that will abstain so."""

METHODS: Final[Mapping[Rule, Concept]] = {
    "clopper_pearson": CLOPPER_PEARSON,
    "e_process": E_PROCESS,
    "futility": E_PROCESS,
    "curtailment": E_PROCESS,
    "certified_selection": CERTIFIED_SELECTION,
}
SCOPES: Final[Mapping[Scope, Concept]] = {"input_independent": INPUT_INDEPENDENT, "frozen_prompt": FROZEN_PROMPT}
WARNINGS: Final[Mapping[str, Concept]] = {
    "low_contrast": LOW_CONTRAST,
    "no_window": NO_WINDOW,
    "several_windows": SEVERAL_WINDOWS,
    "voi_lut_reduced": VOI_LUT_REDUCED,
    "burned_in_annotation": BURNED_IN,
}


def finding(label: str, class_codes: Mapping[str, Code]) -> Code:
    """Returns the concept of a certified class: the task's own, or a private one that follows from the name.

    The extra class of a bank has one concept in every task, whatever codes a card lists.

    Args:
        label: Name of the class.
        class_codes: Name of a class -> its concept, from the card of the task; empty where the card has none.
    """
    if label == UNLIKE:
        return UNLIKE_TRAINING
    if (code := class_codes.get(label)) is not None:
        return code
    digest = hashlib.sha256(label.encode()).hexdigest()
    plain = " ".join(label.replace("\\", "/").split())  # a backslash separates values in DICOM
    return private_code(f"CLASS-{digest[:8]}", plain[:_MAX_MEANING].strip())
