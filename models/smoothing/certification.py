"""What CERTIFY returns: the outcome, and the samples that it follows from."""

from dataclasses import dataclass, field

from certrad.models.types import Decision, LabelCounts, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimation:
    """The estimation samples up to the stop, and what they decide.

    Attributes:
        labels: Labels of samples 0, 1, … in order, little-endian uint16; `invalid` is label K.
        counts: How often each label occurs.
        outcome: A certificate, or an abstention.
        decision: The rule that decided.
    """

    labels: bytes = field(repr=False)
    counts: LabelCounts
    outcome: Outcome
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Certification:
    """The outcome of CERTIFY and the samples that it follows from.

    Attributes:
        key: The 32 bytes that the noise was drawn from.
        selection: Counts of the selection samples.
        estimation: The estimation samples.
    """

    key: bytes
    selection: LabelCounts
    estimation: Estimation

    def __repr__(self) -> str:
        """Returns the outcome and what it took in one line; labels, counts and key are attributes."""
        return f"Certification(outcome={self.outcome}, rule={self.decision.rule!r}, samples_used={self.samples_used})"

    @property
    def outcome(self) -> Outcome:
        """Returns the certificate, or the abstention."""
        return self.estimation.outcome

    @property
    def decision(self) -> Decision:
        """Returns the rule that decided."""
        return self.estimation.decision

    @property
    def samples_used(self) -> int:
        """Returns the number of selection samples, and of estimation samples up to the stop."""
        return self.selection.total + self.estimation.counts.total
