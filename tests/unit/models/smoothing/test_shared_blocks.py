"""A run that several engines work on at once: whoever computes what, when, the result is that of one engine."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certrad.models.smoothing import (
    Estimation,
    Layout,
    MemoryBlocks,
    Noise,
    NoisySampler,
    SharedBlocks,
    Stream,
    estimate,
)
from certrad.models.smoothing.labelling import label_batches
from certrad.models.types import LabelCounts, NoiseLaw, SmoothingParams
from tests.support.threshold_classifier import ThresholdClassifier

CLASSIFIER = ThresholdClassifier(cuts=(100, 128, 156))
PARAMS = SmoothingParams(n0=50, n=600)
TARGETED = replace(PARAMS, n=3000, target_radius=0.05)
SELECTION = LabelCounts(per_class=(26, 6, 7, 11))
COMMIT_SIZE = 16
LAWS: tuple[NoiseLaw, ...] = get_args(NoiseLaw)
SAMPLERS = {
    law: NoisySampler(
        image=CLASSIFIER.image(0.4),
        sigma=PARAMS.sigma,
        noise=Noise(bytes(range(32)), law),
        batch_size=64,
        device=CLASSIFIER.device,
    )
    for law in LAWS
}


def estimated(
    law: NoiseLaw, params: SmoothingParams, blocks: MemoryBlocks | SharedBlocks, seen: list[int] | None = None
) -> Estimation:
    def on_progress(counts: LabelCounts, _: float | None) -> None:
        if seen is not None:
            seen.append(counts.total)

    return estimate(SAMPLERS[law], CLASSIFIER, params, SELECTION, blocks, COMMIT_SIZE, on_progress)


@dataclass(slots=True)
class Company:
    """Shared blocks beside other engines, which claim, commit, die with a claim, and commit late as chance has it."""

    law: NoiseLaw
    chance: random.Random
    kept: MemoryBlocks = field(default_factory=MemoryBlocks)
    own: list[int] = field(default_factory=list)
    ended: bool = False
    left: int = 0
    decided: list[int] = field(default_factory=list)
    _layout: Layout | None = None
    _next: int = 0
    _theirs: list[int] = field(default_factory=list)

    def committed(self) -> Mapping[int, bytes]:
        return self.kept.committed()

    def commit(self, start: int, labels: bytes) -> bytes:
        self._live_on()
        self.own.append(start)
        return self.kept.commit(start, labels)

    def begin(self, layout: Layout, *, may_stop_early: bool) -> None:
        assert may_stop_early == (layout.n == TARGETED.n)
        self._layout = layout

    def claim(self, decided: int) -> int | None:
        self.decided.append(decided)
        self._live_on()
        return self._hand_out()

    def read(self, starts: Iterable[int]) -> Mapping[int, bytes]:
        self._live_on()
        return {start: labels for start, labels in self.kept.committed().items() if start in set(starts)}

    def await_helpers(self, starts: Iterable[int]) -> Mapping[int, bytes]:
        return self.read(starts)

    def leave(self) -> None:
        self.left += 1

    def end(self) -> None:
        self.ended = True

    def _hand_out(self) -> int | None:
        assert self._layout is not None
        if self._next >= self._layout.n or self.chance.random() < 0.1:
            return None
        self._next += self._layout.batch_size
        return self._next - self._layout.batch_size

    def _live_on(self) -> None:
        """Lets the others claim, commit what they claimed, a part of it, or nothing for ever."""
        assert self._layout is not None
        if self.chance.random() < 0.4 and (start := self._hand_out()) is not None:
            self._theirs.append(start)
        for start in list(self._theirs):
            if self.chance.random() < 0.3:
                self._theirs.remove(start)
                self._commit_theirs(start)

    def _commit_theirs(self, start: int) -> None:
        assert self._layout is not None
        ((_, labels),) = label_batches(SAMPLERS[self.law], CLASSIFIER, Stream.ESTIMATE, [start])
        for block in self._layout.blocks(start):
            if self.chance.random() < 0.9:
                self.kept.commit(block, labels[self._layout.block(start, block)].tobytes())


@pytest.fixture(scope="module")
def alone() -> dict[tuple[NoiseLaw, SmoothingParams], Estimation]:
    """Returns what one engine comes to."""
    return {(law, params): estimated(law, params, MemoryBlocks()) for law in LAWS for params in (PARAMS, TARGETED)}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), law=st.sampled_from(LAWS), params=st.sampled_from([PARAMS, TARGETED]))
def test_the_result_beside_other_engines_is_that_of_one(
    alone: dict[tuple[NoiseLaw, SmoothingParams], Estimation], seed: int, law: NoiseLaw, params: SmoothingParams
) -> None:
    company, seen = Company(law, random.Random(seed)), list[int]()
    assert estimated(law, params, company, seen) == alone[law, params]
    assert company.ended
    assert company.left == 1
    assert seen == sorted(set(seen))
    assert company.decided == sorted(company.decided)


def test_a_claim_says_how_far_the_labels_have_decided() -> None:
    company = Company("philox-ziggurat-f64", random.Random(1))
    estimated("philox-ziggurat-f64", PARAMS, company)
    assert company.decided[0] == 0 < company.decided[-1] < PARAMS.n


def test_others_spare_this_engine_batches() -> None:
    company = Company("philox-ziggurat-f64", random.Random(1))
    estimated("philox-ziggurat-f64", PARAMS, company)
    assert 0 < len(company.own) < len(company.committed())


def test_an_engine_that_is_stopped_gives_its_claims_back_and_does_not_end_the_run() -> None:
    class Stopped(Company):
        def commit(self, start: int, labels: bytes) -> bytes:
            raise InterruptedError

    company = Stopped("philox-ziggurat-f64", random.Random(2))
    with pytest.raises(InterruptedError):
        estimated("philox-ziggurat-f64", PARAMS, company)
    assert (company.left, company.ended) == (1, False)
