"""The order of a queue is fair between tenants and loses nothing, for any sequence of arrivals and departures."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from certrad.workers.contract.turns import NORMAL, URGENT, Turn, index_of, next_turn

TENANTS = ("a", "b", "c")
ARRIVALS = st.tuples(st.sampled_from(TENANTS), st.sampled_from([NORMAL, NORMAL, URGENT]))
BURSTS = st.lists(st.tuples(st.one_of(st.none(), ARRIVALS), st.integers(1, 6)), max_size=12)
STEPS = BURSTS.map(lambda bursts: [step for step, times in bursts for _ in range(times)])
"""Arrivals, and None where a worker takes the head: several of the same in a row, as a flood is."""


@dataclass
class Line:
    """A queue as `place` keeps it: each entry is a number, in the order of arrival."""

    waiting: list[tuple[int, Turn]] = field(default_factory=list)
    last: dict[tuple[int, str], Turn] = field(default_factory=dict)
    arrived: int = 0

    def arrive(self, tenant: str, precedence: int) -> None:
        turns = [turn for _, turn in self.waiting]
        turn = next_turn(turns, self.last.values(), precedence=precedence, tenant=tenant)
        self.waiting.insert(index_of(turn, turns), (self.arrived, turn))
        self.arrived += 1

    def take(self) -> tuple[int, Turn]:
        entry, turn = self.waiting.pop(0)
        self.last[turn.precedence, turn.tenant] = turn
        return entry, turn

    def waits(self, tenant: str, precedence: int) -> bool:
        return any((turn.tenant, turn.precedence) == (tenant, precedence) for _, turn in self.waiting)


@given(steps=STEPS)
def test_while_two_tenants_wait_their_turns_differ_by_one_at_most(steps: list[tuple[str, int] | None]) -> None:
    line, taken = Line(), Counter[str]()
    for step in steps:
        if step is not None:
            line.arrive(*step)
        elif line.waiting:
            _, turn = line.take()
            taken[turn.tenant] += turn.precedence == NORMAL
        if not (line.waits("a", NORMAL) and line.waits("b", NORMAL)):
            taken.clear()  # one of them has nothing to take: what it misses it does not get later
        assert abs(taken["a"] - taken["b"]) <= 1


@given(steps=STEPS)
def test_nothing_is_lost_and_every_urgent_entry_goes_before_the_normal_ones(
    steps: list[tuple[str, int] | None],
) -> None:
    line, taken = Line(), []
    for step in steps:
        if step is not None:
            line.arrive(*step)
        elif line.waiting:
            taken.append(line.take()[0])
        precedences = [turn.precedence for _, turn in line.waiting]
        assert precedences == sorted(precedences)
    assert sorted([*taken, *(entry for entry, _ in line.waiting)]) == list(range(line.arrived))


@given(flood=st.integers(1, 256), gone=st.integers(0, 255))
def test_no_entry_of_a_flood_that_has_begun_goes_before_another_tenants_single_one(flood: int, gone: int) -> None:
    line = Line()
    for _ in range(flood):
        line.arrive("a", NORMAL)
    for _ in range(min(gone, flood)):
        line.take()
    line.arrive("b", NORMAL)
    ahead = [turn.tenant for _, turn in line.waiting].index("b")
    assert ahead == (0 if gone else 1)


@given(tenants=st.lists(st.sampled_from(TENANTS), max_size=30))
def test_the_entries_of_one_tenant_keep_their_order(tenants: list[str]) -> None:
    line = Line()
    for tenant in tenants:
        line.arrive(tenant, NORMAL)
    for tenant in TENANTS:
        own = [entry for entry, turn in line.waiting if turn.tenant == tenant]
        assert own == sorted(own)


def test_who_had_a_turn_in_this_round_comes_after_who_had_none() -> None:
    line = Line()
    for tenant in ("a", "b"):
        line.arrive(tenant, NORMAL)
    line.take()
    for tenant in ("a", "c"):
        line.arrive(tenant, NORMAL)
    assert [turn.tenant for _, turn in line.waiting] == ["b", "c", "a"]


def test_urgent_entries_cost_their_tenant_no_normal_turn() -> None:
    line = Line()
    for tenant, precedence in (("a", URGENT), ("a", NORMAL), ("b", NORMAL)):
        line.arrive(tenant, precedence)
    assert [turn.tenant for _, turn in line.waiting] == ["a", "a", "b"]
