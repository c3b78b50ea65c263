"""`python -m certrad.bench gate-cost` times the gate against the encoder, on the shipped bank."""

import argparse

import pytest

from certrad.bench.measure import gate_cost


def test_the_gate_costs_the_bank_s_head_less_that_of_one_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    gate_cost.add_arguments(parser)
    monkeypatch.setattr(
        gate_cost, "seconds", lambda actions, rounds: [action() or 0.1 * 4**-i for i, action in enumerate(actions)]
    )
    cost = gate_cost.measure(parser.parse_args(["--batch-size", "2"]))
    assert (cost.encoder, cost.one_prompt, cost.bank_and_gate) == pytest.approx((5e4, 1.25e4 / 20, 3125 / 20))
    assert cost.gate == pytest.approx((3125 - 12500) / 20)
    assert cost.gate_share == pytest.approx(cost.gate / cost.encoder)
    assert cost.members > 1


def test_actions_are_timed_in_turns_after_one_that_is_not_measured() -> None:
    done: list[str] = []
    found = gate_cost.seconds([lambda: done.append("a"), lambda: done.append("b")], rounds=2)
    assert done == ["a", "b"] * 3
    assert min(found) >= 0
