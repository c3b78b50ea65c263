"""Another processor may give only labels whose logit is near the largest, and only few of them."""

import pytest
import torch

from certrad.models.replay.near_ties import EXACT, NearTies

TIES = NearTies(margin=0.5, share=0.02)
LOGITS = torch.tensor([[3.0, 2.6, 0.0]])


@pytest.mark.parametrize(
    ("stated", "allowed"), [(0, True), (1, True), (2, False), (3, False)], ids=["same", "near", "far", "not finite"]
)
def test_only_a_label_whose_logit_is_near_the_largest_is_allowed(stated: int, allowed: bool) -> None:
    assert TIES.allow(LOGITS, torch.tensor([stated])).tolist() == [allowed]


def test_a_sample_without_finite_logits_is_no_near_tie() -> None:
    assert TIES.allow(torch.tensor([[3.0, torch.nan, 3.0]]), torch.tensor([2])).tolist() == [False]


def test_not_even_equal_logits_are_a_near_tie_where_labels_must_be_equal() -> None:
    assert EXACT.allow(torch.tensor([[1.0, 1.0]]), torch.tensor([1])).tolist() == [False]


def test_near_ties_of_float32_are_tighter_by_orders_of_magnitude() -> None:
    of_float32, of_bfloat16 = (NearTies.of(dtype, 100.0) for dtype in (torch.float32, torch.bfloat16))
    assert 0 < of_float32.margin < 1e-2
    assert of_float32.margin * 1000 < of_bfloat16.margin < 10
    assert of_float32.share < of_bfloat16.share


def test_more_differing_labels_than_processors_differ_in_are_too_many() -> None:
    assert not TIES.too_many(0, 200, 0.001)
    assert not TIES.too_many(4, 200, 0.001)
    assert TIES.too_many(40, 200, 0.001)
    assert EXACT.too_many(1, 200, 0.001)
