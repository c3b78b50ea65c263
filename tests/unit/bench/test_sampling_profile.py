"""The sampling profiler of `bench certify-cost`: the part that a thread is in is the innermost one that has a name."""

import sys
import threading
from collections.abc import Callable
from types import FrameType

import numpy as np
import pytest
import torch

from certrad.bench.common import sampling_profile
from certrad.bench.common.sampling_profile import ELSEWHERE, PARTS, Share, as_table, part_of, profiled, shares
from certrad.models.smoothing.noise import Noise, Stream
from certrad.models.smoothing.sampling import NoisySampler
from tests.support.processes import ROOT


def frame_inside(action: Callable[[Callable[[], None]], object]) -> FrameType:
    """The innermost frame of a thread that an action keeps inside itself."""
    inside, ended = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        ended.wait()

    thread = threading.Thread(target=action, args=(stay,))
    thread.start()
    inside.wait()
    assert thread.ident is not None
    frame = sys._current_frames()[thread.ident]
    ended.set()
    thread.join()
    return frame


def test_the_innermost_part_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(stay: Callable[[], None]) -> None:
        def rint(_: object, out: object) -> object:
            stay()
            return out

        monkeypatch.setattr(np, "rint", rint)
        image = np.full((3, 2, 2), 0.5)
        sampler = NoisySampler(image=image, sigma=0.5, noise=Noise(bytes(32)), batch_size=1, device=torch.device("cpu"))
        sampler.batch(Stream.SELECT, 0)

    assert part_of(frame_inside(draw)) == "noisy pixels of the normals"


def test_a_thread_that_is_in_no_part_is_elsewhere() -> None:
    assert part_of(frame_inside(lambda stay: stay())) == ELSEWHERE


def test_every_part_names_a_function_that_is_there() -> None:
    for file, function in PARTS:
        if file.startswith("models/"):
            assert f"def {function}(" in (ROOT / file).read_text("utf-8"), (file, function)


def test_shares_are_of_the_looks_at_the_main_thread_the_largest_first() -> None:
    found = {("main", "head"): 1, ("main", "image encoder"): 3, ("noise", "normals"): 2}
    assert shares(found) == (
        Share(thread="main", part="image encoder", share=0.75),
        Share(thread="main", part="head", share=0.25),
        Share(thread="noise", part="normals", share=0.5),
    )


def test_an_action_is_looked_at_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def part(frame: FrameType | None) -> str:
        looked.set()
        return "head"

    monkeypatch.setattr(sampling_profile, "part_of", part)
    assert profiled(looked.wait, interval=1e-4) == (Share(thread="main", part="head", share=1.0),)
    assert not [thread for thread in threading.enumerate() if thread.name == "profiler"]


def test_a_profile_is_a_table() -> None:
    table = as_table((Share(thread="main", part="head", share=0.0123),))
    assert table.splitlines()[-1] == "| main | head | 1.2 |"
