"""The coded concepts of what a certificate says about other renderings of the file."""

from typing import Final

from certrad.models.types.code import Code
from certrad.workers.reports.codes import SCHEME, Concept


def _concept(value: str, meaning: str, definition: str) -> Concept:
    return Concept(value=value, scheme=SCHEME, meaning=meaning, definition=definition)


VARIANTS: Final = _concept(
    "VARIANTS",
    "Other renderings of the file",
    "Whether the class was shown for every listed rendering of the same file, such as another window.",
)
VARIANTS_HELD: Final = _concept(
    "VARIANTS-HELD",
    "Class shown for every listed rendering",
    "Every listed rendering of the file has the certified class, with the radius that was asked for, except with the "
    "failure probability of the certificate.",
)
VARIANTS_FAILED: Final = _concept(
    "VARIANTS-FAILED",
    "Class not shown for every listed rendering",
    "For one listed rendering of the file or more, the class was not shown with the radius that was asked for. "
    "Nothing is claimed about all of them.",
)
VARIANTS_NONE: Final = _concept(
    "VARIANTS-NONE",
    "No other rendering was sampled",
    "The certificate names no class, so that no other rendering was sampled. Nothing is claimed about them.",
)
VARIANTS_TRIED: Final = _concept(
    "VARIANTS-TRIED", "Number of other renderings sampled", "Renderings of the file for which noisy samples were drawn."
)
VARIANTS_ASKED: Final = _concept(
    "VARIANTS-ASKED",
    "Radius asked for at every rendering",
    "L2 radius in the model input that the request asked for at every listed rendering. It is a setting, not a result.",
)
VARIANTS_RADIUS: Final = _concept(
    "VARIANTS-RADIUS",
    "Smallest L2 radius of all renderings (lower bound)",
    "No change of the model input of any listed rendering, with pixels in [0, 1], whose L2 norm is below this radius "
    "changes the class, except with the failure probability of the certificate. Rounded down. It is stated only where "
    "the class was shown for every listed rendering.",
)
VARIANTS_LEAST: Final = _concept(
    "VARIANTS-LEAST",
    "Rendering that shows least",
    "The counterexample: of the listed renderings the one that shows the class least, with its samples.",
)
VARIANTS_TEXT: Final = _concept(
    "VARIANTS-TEXT", "Claim about other renderings in words", "The claim about other renderings as sentences."
)
RENDERINGS: Final = Code(value="{renderings}", scheme="UCUM", meaning="renderings")


def variants_outcome(*, held: bool | None) -> Concept:
    """Returns the concept of what other renderings show.

    Args:
        held: Whether all of them held; None where none was sampled.
    """
    return {True: VARIANTS_HELD, False: VARIANTS_FAILED, None: VARIANTS_NONE}[held]
