"""The effect of another instruction set is counted by labels that change and the margins of their logits."""

import numpy as np

from certrad.bench.measure.instruction_sets import change_of

OWN = np.array([[0.50, 0.49, 0.10], [0.30, 0.10, 0.00]])


def test_what_moves_all_logits_alike_changes_nothing() -> None:
    change = change_of("bfloat16", "another", "template 0.25", OWN, OWN + 0.25)
    assert (change.moved, change.changed, change.margin) == (0.0, 0, 0.0)
    assert (change.classifier, change.sigma, change.samples) == ("template", 0.25, 2)


def test_a_changed_label_is_counted_with_the_larger_of_its_two_margins() -> None:
    other = OWN + np.array([[-0.015, 0.0, 0.0], [0.0, 0.0, 0.0]])
    change = change_of("bfloat16", "another", "template 0.25", OWN, other)
    assert change.changed == 1
    assert (change.moved, change.margin) == (round(0.015 * 128, 2), round(0.01 * 128, 2))
