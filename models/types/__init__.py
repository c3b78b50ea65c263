"""The values that flow through the whole system; standard library only, frozen, and impossible to build wrong."""

from certrad.models.types.adapter_card import AdapterCard
from certrad.models.types.cards import BackboneCard, DatasetCard, PromptCard, TaskCard
from certrad.models.types.request import (
    TEMPLATE_PROMPT,
    Adaptation,
    CertifyRequest,
    ClassifierSpec,
    GatedAdaptation,
    Region,
    ZeroShotAdaptation,
)
from certrad.models.types.routing import SigmaRouting
from certrad.models.types.sigma_choice import AutoSigma, FixedSigma, SigmaChoice
from certrad.models.types.smoothing import (
    ETA,
    Abstention,
    AbstentionReason,
    AlphaSplit,
    Bound,
    Certificate,
    Decision,
    LabelCounts,
    NoiseLaw,
    Outcome,
    Rule,
    SamplingBudget,
    SamplingParams,
    Scope,
    SmoothingParams,
)

__all__ = [
    "ETA",
    "TEMPLATE_PROMPT",
    "Abstention",
    "AbstentionReason",
    "Adaptation",
    "AdapterCard",
    "AlphaSplit",
    "AutoSigma",
    "BackboneCard",
    "Bound",
    "Certificate",
    "CertifyRequest",
    "ClassifierSpec",
    "DatasetCard",
    "Decision",
    "FixedSigma",
    "GatedAdaptation",
    "LabelCounts",
    "NoiseLaw",
    "Outcome",
    "PromptCard",
    "Region",
    "Rule",
    "SamplingBudget",
    "SamplingParams",
    "Scope",
    "SigmaChoice",
    "SigmaRouting",
    "SmoothingParams",
    "TaskCard",
    "ZeroShotAdaptation",
]
