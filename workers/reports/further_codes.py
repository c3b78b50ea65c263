"""The coded concepts of claims that stand beside the radius: noise on the window."""

from typing import Final

from certrad.workers.reports.codes import SCHEME, Concept


def _concept(value: str, meaning: str, definition: str) -> Concept:
    return Concept(value=value, scheme=SCHEME, meaning=meaning, definition=definition)


WINDOW_NOISE: Final = _concept(
    "WINDOW-NOISE",
    "Windows near that of the file, under noise",
    "Whether the class was shown for windows near that of the file, under noise on the window and on the model input.",
)
WINDOW_SHOWN: Final = _concept(
    "WINDOW-SHOWN",
    "Class shown for windows near that of the file",
    "The class stays as it is for the changes of the window that the claim names, except with the failure probability "
    "of the certificate.",
)
WINDOW_NOT_SHOWN: Final = _concept(
    "WINDOW-NOT-SHOWN",
    "Class not shown under noise on the window",
    "The class was not shown under noise on the window. Nothing is claimed about other windows.",
)
WINDOW_NONE: Final = _concept(
    "WINDOW-NONE",
    "No sample with noise on the window",
    "The certificate names no class, so that no sample with noise on the window was drawn. Nothing is claimed about "
    "other windows.",
)
WINDOW_TEXT: Final = _concept(
    "WINDOW-TEXT", "Claim about noise on the window in words", "The claim about noise on the window as sentences."
)
