"""The coded concepts of claims that stand beside the radius: noise on the window, sets, answers without noise."""

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
SET: Final = _concept(
    "PRED-SET",
    "Prediction set",
    "Whether a list of classes was made that misses the correct class at most as often as promised, on images like "
    "those of the site's own calibration.",
)
SET_LISTED: Final = _concept(
    "SET-LISTED", "List of one class or more", "At least one class reaches its threshold. It is not a certified class."
)
SET_EMPTY: Final = _concept(
    "SET-EMPTY",
    "Empty list: unlike the calibration images",
    "No class reaches its threshold. At most the promised share of images like those of the calibration gets an empty "
    "list.",
)
SET_CLASSES: Final = _concept(
    "SET-CLASSES", "Classes on the list", "The names of the classes on the list, or that it is empty."
)
SET_TEXT: Final = _concept("SET-TEXT", "Claim about the list in words", "The claim about the list as sentences.")
UNSMOOTHED: Final = _concept(
    "UNSMOOTHED",
    "Answers for other renderings, without noise",
    "Whether the base classifier answers the same for every listed rendering, without noise. It is no proof: such "
    "answers have no radius and no probability.",
)
UNSMOOTHED_SAME: Final = _concept(
    "UNSMOOTHED-SAME",
    "Same answer for every listed rendering",
    "The base classifier answers the certified class for every listed rendering, without noise.",
)
UNSMOOTHED_OTHER: Final = _concept(
    "UNSMOOTHED-OTHER",
    "Another answer for a listed rendering",
    "For one listed rendering or more, the base classifier answers otherwise without noise.",
)
UNSMOOTHED_NONE: Final = _concept(
    "UNSMOOTHED-NONE",
    "No other rendering was tried",
    "The certificate names no class, so that no rendering was tried without noise.",
)
UNSMOOTHED_TEXT: Final = _concept(
    "UNSMOOTHED-TEXT", "Answers without noise in words", "The statement about answers without noise as sentences."
)
