"""The labels of an image that its certificate may be counted by."""

from typing import Final, Literal

DriftLabel = Literal["modality", "scanner_model"]

NO_LABEL: Final = "none"
OTHER: Final = "other"
