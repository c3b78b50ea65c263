"""The coverage of prediction sets in the bench: three methods from the same counts."""

import numpy as np

from certrad.bench.common.set_coverage import SetRecord, as_markdown, summarise, union_threshold
from certrad.models.prediction_sets.ranks import clean_level, clean_quantile
from certrad.models.prediction_sets.thresholds import robust_threshold


def records(count: int, share: float, attacked: float, seed: int) -> list[SetRecord]:
    generator = np.random.default_rng(seed)

    def counts(label: int, of: float) -> tuple[int, ...]:
        own = int(generator.binomial(50, of))
        return tuple(own if k == label else 50 - own for k in range(2))

    return [
        SetRecord(index=i, label=i % 2, clean=counts(i % 2, share), attacked=(counts(i % 2, attacked),))
        for i in range(count)
    ]


def test_sets_cover_where_vanilla_ones_do_not() -> None:
    rows = summarise(records(200, 0.9, 0.9, 0), records(300, 0.9, 0.62, 1), 50, 0.5, (0.5,), (0.1,))
    covered = {row.method: row.attacked.covered / row.attacked.images for row in rows}
    assert covered["vanilla"] < 0.5
    assert covered["count transfer"] >= 0.9
    assert covered["count transfer, per class"] >= 0.9
    assert covered["union"] >= covered["count transfer"]
    assert len(as_markdown(rows, ["a", "b"]).splitlines()) == 13


def test_union_asks_for_fewer_samples_than_count_transfer() -> None:
    counts = np.random.default_rng(0).binomial(200, 0.9, 600).tolist()
    quantile = clean_quantile(counts, clean_level(0.05))
    assert 0 < union_threshold(counts, 200, 200, 1.0, 0.05) < robust_threshold(quantile, 200, 200, 1.0)


def test_record_is_read_back() -> None:
    (record,) = records(1, 0.9, 0.6, 0)
    assert SetRecord.from_json(record.to_json()) == record
