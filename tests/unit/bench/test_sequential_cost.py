"""`python -m certrad.bench sequential-cost`: its summary is what certification decides."""

import numpy as np

from certrad.bench.common.sequential_records import Record, Settings, decided, summarise
from certrad.models.smoothing import MemoryBlocks, certify
from certrad.models.smoothing.sampling import LABEL_DTYPE
from certrad.models.types import SmoothingParams
from tests.support.threshold_classifier import ThresholdClassifier

CLASSIFIER = ThresholdClassifier(cuts=(122, 128, 134))
SETTINGS = Settings(
    backbone="demo",
    backbone_sha256="0" * 64,
    prompt="p",
    class_names=("a", "b", "c", "d"),
    sigma=0.25,
    n0=50,
    n=1000,
    batch_size=64,
    data_sha256="0" * 64,
    seed=0,
    dtype="float32",
)


def record(index: int, x: float) -> Record:
    made = certify(CLASSIFIER.image(x), CLASSIFIER, SETTINGS.params, key=bytes([index] * 32))
    selection = (*made.selection.per_class, made.selection.invalid)
    return Record(index=index, label=0, selection=selection, labels=made.estimation.labels.hex())


def test_recorded_labels_decide_as_a_certificate_with_the_target_does() -> None:
    for index, x in enumerate((0.05, 0.3, 0.45)):
        params = SmoothingParams(sigma=0.25, n0=50, n=1000, target_radius=0.15)
        real = certify(CLASSIFIER.image(x), CLASSIFIER, params, key=bytes([index] * 32), blocks=MemoryBlocks())
        samples, verdict = decided(record(index, x), params, 64)
        assert (samples, verdict.outcome, verdict.decision) == (real.samples_used, real.outcome, real.decision)


def test_summary_compares_both_certificates_of_the_same_labels() -> None:
    records = [record(0, 0.05), record(1, 0.45)]
    result = summarise(records, SETTINGS, 0.15)
    assert (result.certified_at_target, result.certified_at_target_with_fixed_n) == (0.5, 0.5)
    assert result.mean_samples_used == np.mean(
        [decided(r, SmoothingParams(n0=50, n=1000, target_radius=0.15), 64)[0] for r in records]
    )
    assert sum(result.rules.values()) == 2


def test_a_record_survives_the_journal() -> None:
    kept = record(0, 0.3)
    assert Record.from_json(kept.to_json()) == kept
    assert np.frombuffer(bytes.fromhex(kept.labels), LABEL_DTYPE).size == 1000
