"""All that a certificate states, as types."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from certrad.models.certificates.labels import label_numbers
from certrad.models.images.units import ImageScale
from certrad.models.types import (
    Adaptation,
    AlphaSplit,
    CertifyRequest,
    Decision,
    LabelCounts,
    NoiseLaw,
    Outcome,
)
from certrad.models.types.routing import Routed

SCHEMA: Final = "certrad.certificate/2"


THREADS_MAX: Final = 4096


BLOCK_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The labels of the samples, the outcome they decide, and how it was decided.

    labels: of the estimation samples in index order up to the stop, little-endian uint16; `invalid` is label K.
    routed: where sigma was chosen automatically, the samples of the selector and of all routes; those above are then
        of the selected route.
    """

    selection: LabelCounts
    estimation: LabelCounts
    labels: bytes
    outcome: Outcome
    decision: Decision
    routed: Routed | None = None

    def __post_init__(self) -> None:
        _check_labels(self.labels, self.estimation)
        for drawn in () if self.routed is None else (self.routed.selector, *self.routed.routes.values()):
            _check_labels(drawn.labels, drawn.counts)

    @property
    def selection_samples(self) -> int:
        """Those that chose the class, and the route."""
        return self.selection.total + (0 if self.routed is None else self.routed.selection.selector.total)

    @property
    def estimation_samples(self) -> int:
        """Those that bound probabilities: of classes, and of routes."""
        if self.routed is None:
            return self.estimation.total
        return sum(drawn.counts.total for drawn in (self.routed.selector, *self.routed.routes.values()))

    @property
    def samples_used(self) -> int:
        """Selection and estimation samples together."""
        return self.selection_samples + self.estimation_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image a certificate is about, by digest only.

    pixels_sha256: the decoded pixels, before resizing. input_sha256: the float32 model input.
    """

    pixels_sha256: str
    input_sha256: str
    input_shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierIdentity:
    """Everything that decides what the base classifier computes.

    prompt_sha256: digest of the prompt checkpoint; None for a hand-written template.
    context_sha256: digest of the context vectors in force, adapted ones included; None for a hand-written template.
        Those of a bank are the whole bank.
    text_features_sha256: of all class names; of a bank, of those of every member in turn.
    members, gate_sha256: of a bank, the digests of its members' context vectors, each as a checkpoint of its own, and
        of its gate.
    """

    backbone: str
    backbone_sha256: str
    prompt: str
    prompt_sha256: str | None
    context_sha256: str | None
    text_features_sha256: str
    class_names: tuple[str, ...]
    template: str
    adaptation: Adaptation | None
    logit_scale: float
    dtype: str
    device: str
    threads: int
    block_size: int
    members: tuple[str, ...] = ()
    gate_sha256: str | None = None

    def __post_init__(self) -> None:
        for name, value, most in (("threads", self.threads, THREADS_MAX), ("block_size", self.block_size, BLOCK_MAX)):
            if not 1 <= value <= most:  # a replay takes as many
                raise ValueError(f"{name} must be in 1..{most}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseIdentity:
    """What the noise can be drawn again from: its law, the revealed key, and the hash of the secret behind the key."""

    law: NoiseLaw
    key: str
    epoch_sha256: str
    settings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a certificate states; the document and a job's result are two spellings of it."""

    request: CertifyRequest
    evidence: Evidence
    subject: Subject
    scale: ImageScale
    classifier: ClassifierIdentity
    noise: NoiseIdentity
    software: Mapping[str, str]

    @property
    def sigma(self) -> float:
        """That of the noise under which the claimed class was counted."""
        routed = self.evidence.routed
        return self.request.params.sigma if routed is None else routed.sigma

    @property
    def alpha_split(self) -> AlphaSplit:
        """The shares of alpha for the class; with routing the selector has others."""
        params, routed = self.request.params, self.evidence.routed
        return params.alpha_split(len(self.request.classifier.class_names)) if routed is None else routed.split.classes


def routed_evidence(routed: Routed) -> Evidence:
    """The evidence of an automatic choice of sigma."""
    return Evidence(
        selection=routed.selection.classes,
        estimation=routed.selected.counts,
        labels=routed.selected.labels,
        outcome=routed.outcome,
        decision=Decision(rule="certified_selection"),
        routed=routed,
    )


def _check_labels(labels: bytes, counts: LabelCounts) -> None:
    stated = {label: count for label, count in enumerate((*counts.per_class, counts.invalid)) if count}
    if (found := Counter(label_numbers(labels))) != stated:
        raise ValueError(f"the labels must count to {stated}, got {dict(sorted(found.items()))}")
