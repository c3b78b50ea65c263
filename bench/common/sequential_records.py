"""The labels of certified images in order, and what a target radius would have made of them."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from certrad.models.smoothing import SequentialDecision, SequentialTest, count, decide
from certrad.models.smoothing.accuracy import certified_accuracy
from certrad.models.smoothing.sampling import LABEL_DTYPE
from certrad.models.types import LabelCounts, SmoothingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the labels, beside the images."""

    backbone: str
    backbone_sha256: str
    prompt: str
    class_names: tuple[str, ...]
    sigma: float
    n0: int
    n: int
    batch_size: int
    data_sha256: str
    seed: int
    dtype: str

    @property
    def params(self) -> SmoothingParams:
        """The request with all n samples."""
        return SmoothingParams(sigma=self.sigma, n0=self.n0, n=self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image: its true class, the counts of the selection, and every estimation label in order.

    selection: of the K classes, and last `invalid`. labels: little-endian uint16, in hexadecimal.
    """

    index: int
    label: int
    selection: tuple[int, ...]
    labels: str

    def to_json(self) -> str:
        """One line of the journal."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> "Record":
        """The inverse of `to_json`."""
        document = json.loads(line)
        return Record(**{**document, "selection": tuple(document["selection"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """Certificates with a target radius beside those with all n samples.

    certified_at_target: share of images certified for their true class at the target or beyond. rules: what decided.
    """

    target_radius: float
    images: int
    samples_at_fixed_n: int
    mean_samples_used: float
    median_samples_used: float
    ratio_of_means: float
    certified_at_target: float
    certified_at_target_with_fixed_n: float
    rules: dict[str, int]


def summarise(records: Sequence[Record], settings: Settings, target: float) -> TargetResult:
    """Returns the effect of a target radius on the labels of all n samples."""
    params = replace(settings.params, target_radius=target)
    pairs = [(decided(record, params, settings.batch_size), record) for record in records]
    used = [samples for (samples, _), _ in pairs]
    fixed = [(decide(*_all_counts(record), settings.params), record.label) for record in records]
    total = params.n0 + params.n
    return TargetResult(
        target_radius=target,
        images=len(records),
        samples_at_fixed_n=total,
        mean_samples_used=statistics.mean(used),
        median_samples_used=statistics.median(used),
        ratio_of_means=total / statistics.mean(used),
        certified_at_target=certified_accuracy([(v.outcome, record.label) for (_, v), record in pairs], target),
        certified_at_target_with_fixed_n=certified_accuracy(fixed, target),
        rules=dict(Counter(verdict.decision.rule for (_, verdict), _ in pairs)),
    )


def decided(record: Record, params: SmoothingParams, look_every: int) -> tuple[int, SequentialDecision]:
    """samples_used, and the decision that the labels of a record lead to where they are looked at as they come."""
    selection, _ = _all_counts(record)
    labels = np.frombuffer(bytes.fromhex(record.labels), LABEL_DTYPE)
    test = SequentialTest(params, selection, look_every=look_every)
    for n in (*range(look_every, params.n, look_every), params.n):
        if verdict := test.look(count(labels[:n], len(selection.per_class))):
            return params.n0 + n, verdict
    raise ValueError(f"there is a decision at n = {params.n}; {labels.size} labels are recorded")


def _all_counts(record: Record) -> tuple[LabelCounts, LabelCounts]:
    *per_class, invalid = record.selection
    labels = np.frombuffer(bytes.fromhex(record.labels), LABEL_DTYPE)
    return LabelCounts(per_class=tuple(per_class), invalid=invalid), count(labels, len(per_class))
