"""The values that flow through the whole system; standard library only, frozen, and impossible to build wrong."""

from models.types.cards import BackboneCard, PromptCard, TaskCard
from models.types.request import TEMPLATE_PROMPT, CertifyRequest, ClassifierSpec, Region, ZeroShotAdaptation
from models.types.smoothing import (
    ETA,
    Abstention,
    AbstentionReason,
    Bound,
    Certificate,
    LabelCounts,
    NoiseLaw,
    Outcome,
    Scope,
    SmoothingParams,
)

__all__ = [
    "ETA",
    "TEMPLATE_PROMPT",
    "Abstention",
    "AbstentionReason",
    "BackboneCard",
    "Bound",
    "Certificate",
    "CertifyRequest",
    "ClassifierSpec",
    "LabelCounts",
    "NoiseLaw",
    "Outcome",
    "PromptCard",
    "Region",
    "Scope",
    "SmoothingParams",
    "TaskCard",
    "ZeroShotAdaptation",
]
