"""Identifiers of classifiers: what one series of reports has in common."""

from dataclasses import replace

from certrad.models.types import ClassifierSpec
from certrad.workers.reports.identifiers import classifier_id
from tests.support.certificates import ADAPTER, identity

SPEC = ClassifierSpec(backbone="demo", prompt="few-shot", class_names=("a", "b"), template="{}")


def test_adapted_encoder_is_another_classifier() -> None:
    frozen, adapted = (identity(replace(SPEC, adapter=name), block_size=64) for name in (None, ADAPTER))
    other = replace(adapted, adapter_sha256="b" * 64)
    assert len({classifier_id(each) for each in (frozen, adapted, other)}) == 3


def test_id_of_a_frozen_encoder_is_that_of_releases_without_adapters() -> None:
    assert classifier_id(identity(SPEC, block_size=64)) == (
        "5536cde58ce6af785635fd346f0290c28eb9257d39f1cc4aaf31f8de1d191529"
    )
