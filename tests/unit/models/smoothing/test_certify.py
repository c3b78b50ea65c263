"""CERTIFY and PREDICT give the same counts whoever computes them, and stop in every way they can."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import pytest
import torch

from certrad.models.smoothing import (
    LABEL_DTYPE,
    BaseClassifier,
    Blocks,
    Certification,
    Estimation,
    MemoryBlocks,
    Noise,
    NoisySampler,
    SequentialDecision,
    SequentialTest,
    Stream,
    certify,
    count,
    decide,
    estimate,
    predict,
    select,
)
from certrad.models.types import Abstention, Certificate, Decision, LabelCounts, NoiseLaw, SmoothingParams
from tests.support.threshold_classifier import ThresholdClassifier

KEY = bytes(range(32))
LAWS: tuple[NoiseLaw, ...] = get_args(NoiseLaw)
CLASSIFIER = ThresholdClassifier(cuts=(100, 128, 156))
IMAGE = CLASSIFIER.image(0.4)
PARAMS = SmoothingParams(n0=50, n=1000)
SELECTION = LabelCounts(per_class=(26, 6, 7, 11))


def sampler(batch_size: int = 64, law: NoiseLaw = LAWS[0]) -> NoisySampler:
    return NoisySampler(
        image=IMAGE, sigma=PARAMS.sigma, noise=Noise(KEY, law), batch_size=batch_size, device=CLASSIFIER.device
    )


def noise_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("noise")]


@dataclass(slots=True)
class WatchedClassifier:
    """The threshold classifier, recording the batches it was asked for."""

    batches: list[torch.Tensor] = field(default_factory=list)
    input_shape: tuple[int, int, int] = (3, 1, 1)
    n_classes: int = 4
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(pixels.clone())
        return CLASSIFIER.logits(pixels)


@dataclass(slots=True)
class InterruptedBlocks:
    """Blocks that refuse to go on after some commits, as a cancelled job does."""

    allowed: int
    kept: MemoryBlocks = field(default_factory=MemoryBlocks)

    def committed(self) -> Mapping[int, bytes]:
        return self.kept.committed()

    def commit(self, start: int, labels: bytes) -> bytes:
        if self.allowed == 0:
            raise InterruptedError
        self.allowed -= 1
        return self.kept.commit(start, labels)


def estimated(
    blocks: Blocks,
    params: SmoothingParams = PARAMS,
    base_classifier: BaseClassifier = CLASSIFIER,
    block_size: int | None = None,
    on_progress: Callable[[LabelCounts, float | None], None] | None = None,
) -> Estimation:
    """The estimation of the image with noise of one law and batches of 64."""
    return estimate(sampler(), base_classifier, params, SELECTION, blocks, block_size, on_progress)


# -- the counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_the_counts_are_those_recomputed_one_sample_at_a_time(law: NoiseLaw) -> None:
    result = certify(IMAGE, CLASSIFIER, PARAMS, key=KEY, law=law)
    for stream, n, counts in (
        (Stream.SELECT, PARAMS.n0, result.selection),
        (Stream.ESTIMATE, PARAMS.n, result.estimation.counts),
    ):
        eps = [Noise(KEY, law).standard_normal(stream, index, IMAGE.shape)[0, 0, 0] for index in range(n)]
        k = np.rint((IMAGE[0, 0, 0] + PARAMS.sigma * np.array(eps)) * 255)
        labels = np.searchsorted(CLASSIFIER.cuts, k, side="right").astype(LABEL_DTYPE)
        assert counts == count(labels, 4)
    assert result.estimation.labels == labels.tobytes()


def test_certify_is_select_then_estimate_then_decide() -> None:
    selection = select(sampler(), CLASSIFIER, PARAMS)
    estimation = estimate(sampler(), CLASSIFIER, PARAMS, selection, MemoryBlocks())
    whole = certify(IMAGE, CLASSIFIER, PARAMS, key=KEY)
    assert whole == Certification(key=KEY, selection=selection, estimation=estimation)
    assert whole.outcome == decide(selection, estimation.counts, PARAMS)
    assert (whole.decision, whole.samples_used) == (Decision(), 1050)


def test_the_selection_noise_is_not_the_estimation_noise() -> None:
    params = SmoothingParams(n0=1000, n=1000)
    result = certify(IMAGE, CLASSIFIER, params, key=KEY)
    assert result.selection.total == result.estimation.counts.total == 1000
    assert result.selection != result.estimation.counts


@pytest.mark.parametrize("block_size", [1, 16, 64])
@pytest.mark.parametrize("law", LAWS)
def test_the_counts_are_the_same_for_every_block_size(block_size: int, law: NoiseLaw) -> None:
    whole = certify(IMAGE, CLASSIFIER, PARAMS, key=KEY, law=law)
    assert certify(IMAGE, CLASSIFIER, PARAMS, key=KEY, law=law, block_size=block_size) == whole


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000, 2048])
def test_the_counts_are_the_same_for_every_batch_size(batch_size: int) -> None:
    whole = certify(IMAGE, CLASSIFIER, PARAMS, key=KEY)
    assert certify(IMAGE, CLASSIFIER, PARAMS, key=KEY, batch_size=batch_size) == whole


def test_every_batch_has_the_same_size_and_the_same_companions() -> None:
    watched = WatchedClassifier()
    certify(IMAGE, watched, PARAMS, key=KEY)
    assert {tuple(batch.shape) for batch in watched.batches} == {(64, 3, 1, 1)}
    assert len(watched.batches) == 1 + 16
    assert torch.equal(watched.batches[-1], sampler().batch(Stream.ESTIMATE, 960))


@pytest.mark.parametrize("n", [10, 63, 64, 65, 127, 128])
def test_exactly_n_samples_are_counted(n: int) -> None:
    result = certify(IMAGE, CLASSIFIER, SmoothingParams(n0=10, n=n), key=KEY, block_size=16)
    assert (result.selection.total, result.estimation.counts.total) == (10, n)


# -- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [1, 16, 64])
def test_the_blocks_hold_each_label_once(block_size: int) -> None:
    blocks = MemoryBlocks()
    estimation = estimated(blocks, block_size=block_size)
    committed = blocks.committed()
    assert sorted(committed) == list(range(0, 1000, block_size))
    assert b"".join(committed[start] for start in sorted(committed)) == estimation.labels
    labels = np.frombuffer(estimation.labels, "<u2")
    assert labels.size == 1000
    assert count(labels, 4) == estimation.counts


@pytest.mark.parametrize("block_size", [1, 16, 64])
@pytest.mark.parametrize("allowed", [0, 1, 5, 15])
def test_interrupted_and_resumed_gives_the_same_result(allowed: int, block_size: int) -> None:
    interrupted = InterruptedBlocks(allowed=allowed)
    with pytest.raises(InterruptedError):
        estimated(interrupted, block_size=block_size)
    assert len(interrupted.committed()) == allowed
    assert estimated(interrupted.kept, block_size=block_size) == estimated(MemoryBlocks())


def test_only_batches_with_a_missing_block_are_computed() -> None:
    blocks = MemoryBlocks()
    whole = estimated(blocks, block_size=16)
    holes = MemoryBlocks({start: block for start, block in blocks.committed().items() if start not in (80, 96, 992)})
    watched = WatchedClassifier()
    assert estimated(holes, base_classifier=watched, block_size=16) == whole
    assert holes.committed() == blocks.committed()
    assert len(watched.batches) == 2
    assert torch.equal(watched.batches[0], sampler().batch(Stream.ESTIMATE, 64))


def test_everything_committed_computes_nothing() -> None:
    blocks = MemoryBlocks()
    whole = estimated(blocks)
    watched = WatchedClassifier()
    assert estimated(blocks, base_classifier=watched) == whole
    assert watched.batches == []


def test_the_committed_labels_are_the_result_not_the_computed_ones() -> None:
    """Another engine's labels for a block, committed while this one computed it, stand."""
    theirs = np.full(64, 3, LABEL_DTYPE).tobytes()

    class Raced(InterruptedBlocks):
        def commit(self, start: int, labels: bytes) -> bytes:
            if start == 64:
                self.kept.commit(start, theirs)
            return self.kept.commit(start, labels)

    own = estimated(MemoryBlocks()).labels
    assert estimated(Raced(allowed=0)).labels == own[:128] + theirs + own[256:]


@pytest.mark.parametrize(
    "foreign",
    [
        {0: bytes(32)},  # a block of 16
        {16: bytes(128)},  # not where a block of 64 begins
        {960: bytes(128)},  # longer than what is left of 1000
        {1024: bytes(128)},  # beyond n
        {-64: bytes(128)},
        {0: bytes(127)},
    ],
)
def test_blocks_that_could_overlap_are_refused(foreign: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="blocks must be of 64 samples"):
        estimated(MemoryBlocks(foreign))


@pytest.mark.parametrize("block_size", [0, -1, 48, 65, 128])
def test_a_block_size_that_does_not_divide_the_batch_is_refused(block_size: int) -> None:
    with pytest.raises(ValueError, match="must divide the batch size 64"):
        estimated(MemoryBlocks(), block_size=block_size)


# -- stopping and progress -------------------------------------------------------------------------------------------


def test_progress_counts_up_to_the_result() -> None:
    seen: list[tuple[LabelCounts, float | None]] = []
    result = certify(IMAGE, CLASSIFIER, PARAMS, key=KEY, on_progress=lambda *progress: seen.append(progress))
    assert [counts.total for counts, _ in seen] == [*range(64, 1000, 64), 1000]
    assert seen[-1] == (result.estimation.counts, None)


def test_progress_of_a_resumed_job_starts_where_it_stopped() -> None:
    interrupted = InterruptedBlocks(allowed=5)
    with pytest.raises(InterruptedError):
        estimated(interrupted)
    seen: list[int] = []
    estimated(interrupted.kept, on_progress=lambda counts, _: seen.append(counts.total))
    assert seen[0] == 6 * 64


def test_a_refused_commit_stops_the_noise_thread() -> None:
    with pytest.raises(InterruptedError) as stopped:
        estimated(InterruptedBlocks(allowed=1))
    assert noise_threads() == [], stopped  # while the traceback still holds the frames


def test_an_error_of_the_base_classifier_stops_the_noise_thread() -> None:
    class Broken(WatchedClassifier):
        def logits(self, pixels: torch.Tensor) -> torch.Tensor:
            raise MemoryError

    with pytest.raises(MemoryError):
        certify(IMAGE, Broken(), PARAMS, key=KEY)
    assert noise_threads() == []


def test_no_gradients_are_recorded() -> None:
    modes: list[bool] = []

    class Watcher(WatchedClassifier):
        def logits(self, pixels: torch.Tensor) -> torch.Tensor:
            modes.append(torch.is_inference_mode_enabled())
            return CLASSIFIER.logits(pixels)

    def on_progress(_: LabelCounts, __: float | None) -> None:
        modes.append(not torch.is_inference_mode_enabled())

    certify(IMAGE, Watcher(), PARAMS, key=KEY, on_progress=on_progress)
    assert set(modes) == {True}


# -- a target radius -------------------------------------------------------------------------------------------------

TARGETED = replace(PARAMS, n=3000, target_radius=0.05)
"""Decided after some hundreds of the samples."""


def complete() -> dict[int, bytes]:
    """Every block of the targeted run, also those beyond its stop."""
    labels = estimated(MemoryBlocks(), replace(TARGETED, target_radius=None)).labels
    return {start: labels[2 * start : 2 * (start + 64)] for start in range(0, TARGETED.n, 64)}


def test_a_target_stops_at_the_first_look_that_decides() -> None:
    whole = np.frombuffer(b"".join(complete().values()), LABEL_DTYPE)
    result = estimated(MemoryBlocks(), TARGETED)
    stop = result.counts.total
    assert 256 < stop < TARGETED.n
    assert stop % 64 == 0
    assert result.labels == whole[:stop].tobytes()
    test = SequentialTest(TARGETED, SELECTION, look_every=64)
    looks = [test.look(count(whole[:n], 4)) for n in range(64, stop + 1, 64)]
    assert looks[:-1] == [None] * (stop // 64 - 1)
    assert looks[-1] == SequentialDecision(outcome=result.outcome, decision=result.decision)
    assert isinstance(result.outcome, Certificate)
    assert result.outcome.radius >= 0.05


def test_samples_beyond_the_stop_are_neither_labelled_nor_committed() -> None:
    drawn: list[int] = []

    @dataclass(frozen=True, slots=True, kw_only=True, eq=False)
    class Watched(NoisySampler):
        def batch(self, stream: Stream, start: int) -> torch.Tensor:
            drawn.append(start)
            return NoisySampler.batch(self, stream, start)

    watched, blocks = WatchedClassifier(), MemoryBlocks()
    sampler = Watched(image=IMAGE, sigma=0.25, noise=Noise(KEY), batch_size=64, device=CLASSIFIER.device)
    result = estimate(sampler, watched, TARGETED, SELECTION, blocks)
    stop = result.counts.total // 64
    assert len(watched.batches) == len(blocks.committed()) == stop
    assert stop <= len(drawn) <= stop + 2
    assert noise_threads() == []


@pytest.mark.parametrize("block_size", [1, 16, 64])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_target_interrupted_and_resumed_gives_the_same_result(share: float, block_size: int) -> None:
    undisturbed = estimated(MemoryBlocks(), TARGETED)
    interrupted = InterruptedBlocks(allowed=int(share * undisturbed.counts.total / block_size))
    with pytest.raises(InterruptedError):
        estimated(interrupted, TARGETED, block_size=block_size)
    assert estimated(interrupted.kept, TARGETED, block_size=block_size) == undisturbed


@pytest.mark.parametrize("favoured", [0, 3])
@pytest.mark.parametrize("finished", [0.2, 0.6, 1.0])
def test_shards_that_finish_in_any_order_give_the_same_result(favoured: int, finished: float) -> None:
    """Blocks with many labels of one class come first, as they would if its samples were faster."""
    order = sorted(complete().items(), key=lambda block: -block[1].count(bytes([favoured, 0])))
    first_home = dict(order[: int(finished * len(order))])
    assert estimated(MemoryBlocks(first_home), TARGETED) == estimated(MemoryBlocks(), TARGETED)


def test_blocks_beyond_the_stop_are_ignored() -> None:
    undisturbed = estimated(MemoryBlocks(), TARGETED)
    beyond = {start: bytes(len(block)) for start, block in complete().items() if start >= undisturbed.counts.total}
    assert estimated(MemoryBlocks(beyond), TARGETED) == undisturbed


def test_another_engines_labels_move_the_stop() -> None:
    """What stands in the ledger decides, not what this engine computed for it."""
    theirs = np.full(64, 3, LABEL_DTYPE).tobytes()

    class Raced(InterruptedBlocks):
        def commit(self, start: int, labels: bytes) -> bytes:
            return self.kept.commit(start, theirs if start == 0 else labels)

    expected = estimated(MemoryBlocks({**complete(), 0: theirs}), TARGETED)
    assert estimated(Raced(allowed=0), TARGETED) == expected
    assert expected.counts.total != estimated(MemoryBlocks(), TARGETED).counts.total


def test_the_running_radius_grows_up_to_the_certificate() -> None:
    seen: list[float | None] = []
    result = estimated(MemoryBlocks(), TARGETED, on_progress=lambda _, running_radius: seen.append(running_radius))
    assert isinstance(result.outcome, Certificate)
    assert seen == sorted(radius for radius in seen if radius is not None)
    assert seen[0] == 0.0
    assert seen[-1] == result.outcome.radius


def test_a_target_with_nan_on_top_of_the_selection_abstains_at_once() -> None:
    result = certify(IMAGE, NanClassifier(nan_from=-10_000), TARGETED, key=KEY)
    assert result.outcome == Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)
    assert result.samples_used == 50 + 64


# -- invalid ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class NanClassifier(WatchedClassifier):
    """NaN wherever the first pixel is in some range of the grid; class 0 elsewhere."""

    nan_from: int = 0

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros((len(pixels), 4))
        logits[:, 0] = 1
        logits[pixels[:, 0, 0, 0] * 255 >= self.nan_from - 0.5, 2] = torch.nan
        return logits


def test_nan_everywhere_abstains() -> None:
    result = certify(IMAGE, NanClassifier(nan_from=-10_000), PARAMS, key=KEY)
    assert result.estimation.counts == LabelCounts(per_class=(0, 0, 0, 0), invalid=1000)
    assert result.outcome == Abstention(reason="no_majority", p_a_lower=0.0, p_b_upper=1.0)


def test_nan_for_some_samples_counts_against_the_class() -> None:
    some = certify(CLASSIFIER.image(0.2), NanClassifier(nan_from=102), PARAMS, key=KEY)
    none = certify(CLASSIFIER.image(0.2), NanClassifier(nan_from=10_000), PARAMS, key=KEY)
    assert 0 < some.estimation.counts.invalid < 500
    assert isinstance(some.outcome, Certificate)
    assert isinstance(none.outcome, Certificate)
    assert some.outcome.radius < none.outcome.radius


def test_nan_for_most_samples_abstains() -> None:
    result = certify(CLASSIFIER.image(0.6), NanClassifier(nan_from=102), PARAMS, key=KEY)
    assert result.estimation.counts.invalid > 500
    assert isinstance(result.outcome, Abstention)


def test_predict_abstains_on_nan() -> None:
    assert predict(CLASSIFIER.image(0.6), NanClassifier(nan_from=102), PARAMS, key=KEY) is None
    assert predict(CLASSIFIER.image(0.2), NanClassifier(nan_from=102), PARAMS, key=KEY) == 0


# -- the key, the image and the text of a result ---------------------------------------------------------------------


def test_a_key_is_drawn_when_none_is_given_and_the_result_names_it() -> None:
    first, second = (certify(IMAGE, CLASSIFIER, PARAMS) for _ in range(2))
    assert len(first.key) == len(second.key) == 32
    assert first.key != second.key
    assert certify(IMAGE, CLASSIFIER, PARAMS, key=first.key) == first
    assert predict(CLASSIFIER.image(0.2), CLASSIFIER, PARAMS) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_on_the_cpu_is_certified_as_its_array(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(IMAGE).to(dtype).requires_grad_()
    of_array = certify(tensor.detach().numpy(), CLASSIFIER, PARAMS, key=KEY)
    assert certify(tensor, CLASSIFIER, PARAMS, key=KEY) == of_array


@pytest.mark.parametrize(
    ("tensor", "got"),
    [
        (torch.zeros(IMAGE.shape, dtype=torch.float16), "torch.float16 on cpu"),
        (torch.zeros(IMAGE.shape, device="meta"), "torch.float32 on meta"),
    ],
)
def test_another_tensor_is_refused_in_one_sentence(tensor: torch.Tensor, got: str) -> None:
    with pytest.raises(ValueError, match=f"a tensor must be float32 or float64 on the CPU, got {got}"):
        certify(tensor, CLASSIFIER, PARAMS, key=KEY)


def test_a_result_is_one_line_without_its_labels() -> None:
    result = certify(IMAGE, CLASSIFIER, PARAMS, key=KEY)
    assert repr(result) == f"Certification(outcome={result.outcome}, rule='clopper_pearson', samples_used=1050)"
    assert "labels" not in repr(result.estimation)


# -- misuse ----------------------------------------------------------------------------------------------------------


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="the image must be of the classifier's shape"):
        certify(np.zeros((3, 2, 2)), CLASSIFIER, PARAMS, key=KEY)


def test_logits_of_another_shape_are_refused() -> None:
    class Wider(WatchedClassifier):
        def logits(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.zeros((len(pixels), 5))

    with pytest.raises(ValueError, match=r"logits must be of shape \(64, 4\), got \(64, 5\)"):
        certify(IMAGE, Wider(), PARAMS, key=KEY)
