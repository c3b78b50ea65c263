"""CERTIFY and PREDICT (Cohen et al. 2019): from an image and a base classifier to an outcome."""

import secrets
from collections.abc import Callable
from contextlib import closing
from functools import partial
from operator import add
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.smoothing.blocks import Blocks, Layout, MemoryBlocks, SharedBlocks
from certrad.models.smoothing.bounds import decide, decide_class
from certrad.models.smoothing.certification import Certification, Estimation
from certrad.models.smoothing.input_map import InputMap
from certrad.models.smoothing.labelling import label_batches
from certrad.models.smoothing.noise import Noise, Stream
from certrad.models.smoothing.prefix import prefix
from certrad.models.smoothing.sampling import (
    LABEL_DTYPE,
    BaseClassifier,
    NoisySampler,
    Sampler,
    count,
)
from certrad.models.smoothing.sequential import SequentialDecision, SequentialTest
from certrad.models.types import Decision, LabelCounts, NoiseLaw, SamplingBudget, SmoothingParams

BATCH_SIZE: Final = 64


def certify(
    image: NDArray[Any] | torch.Tensor,
    base_classifier: BaseClassifier,
    params: SmoothingParams,
    *,
    key: bytes | None = None,
    law: NoiseLaw = "philox-ziggurat-f64",
    batch_size: int = BATCH_SIZE,
    blocks: Blocks | None = None,
    block_size: int | None = None,
    on_progress: Callable[[LabelCounts, float | None], None] | None = None,
    pixel_map: InputMap | None = None,
) -> Certification:
    """Certifies an image: with probability >= 1 - alpha, the smoothed classifier is constant within the radius.

    CERTIFY of Cohen et al. 2019, over the noise that the key draws.

    Args:
        image: (C, H, W) pixels in [0, 1], float32 or float64, the shape that the base classifier takes. A tensor on
            the CPU is taken as the array that it is.
        base_classifier: The classifier that is smoothed.
        params: Noise level, numbers of samples, error probability.
        key: 32 bytes, see `noise_key`; the same key gives the same noise, and so the same result. None draws a new one,
            which the result names: alpha holds over the choice of the key.
        law: The named law of the noise.
        batch_size: Samples of one batch. With a target radius also the distance of two looks, so that it changes how
            many samples are used.
        blocks: See `estimate`; None keeps them in memory.
        block_size: See `estimate`.
        on_progress: See `estimate`.
        pixel_map: The map from a noisy image to an input of the base classifier, for noise on an image of another
            shape; None for noise on the input itself.

    Returns:
        The outcome, and the samples that it follows from.

    Raises:
        ValueError: The image is not of the classifier's shape, or not in [0, 1].
    """
    key = secrets.token_bytes(32) if key is None else key
    sampler = _sampler(image, base_classifier, params, Noise(key, law), batch_size, pixel_map)
    selection = select(sampler, base_classifier, params)
    estimation = estimate(
        sampler,
        base_classifier,
        params,
        selection,
        MemoryBlocks() if blocks is None else blocks,
        block_size=block_size,
        on_progress=on_progress,
    )
    return Certification(key=key, selection=selection, estimation=estimation)


def predict(
    image: NDArray[Any] | torch.Tensor,
    base_classifier: BaseClassifier,
    params: SmoothingParams,
    *,
    key: bytes | None = None,
    law: NoiseLaw = "philox-ziggurat-f64",
    batch_size: int = BATCH_SIZE,
) -> int | None:
    """Returns the class of the smoothed classifier at the image, or None if n samples cannot tell it.

    PREDICT of Cohen et al. 2019: another class is returned with probability at most alpha over the key.

    Args:
        image: See `certify`.
        base_classifier: The classifier that is smoothed.
        params: sigma, alpha and n count.
        key: See `certify`.
        law: The named law of the noise.
        batch_size: Samples of one batch.

    Raises:
        ValueError: See `certify`.
    """
    key = secrets.token_bytes(32) if key is None else key
    sampler = _sampler(image, base_classifier, params, Noise(key, law), batch_size)
    return decide_class(_count_first(sampler, base_classifier, Stream.PREDICT, params.n), params.alpha)


def select(
    sampler: Sampler,
    base_classifier: BaseClassifier,
    params: SamplingBudget,
    on_progress: Callable[[int], None] | None = None,
) -> LabelCounts:
    """Returns the counts of the n0 selection samples: they choose the class, and nothing else.

    Args:
        sampler: Draws batches of inputs of the classifier.
        base_classifier: The classifier that is smoothed.
        params: n0 counts.
        on_progress: Called after each batch with the number of samples done; may raise to stop.
    """
    # Samples of their own stream, independent of the estimation samples: whatever class they choose, the bounds made of
    # the estimation samples are for a class that was fixed before those were drawn.
    return _count_first(sampler, base_classifier, Stream.SELECT, params.n0, on_progress)


def estimate(
    sampler: Sampler,
    base_classifier: BaseClassifier,
    params: SmoothingParams,
    selection: LabelCounts,
    blocks: Blocks,
    block_size: int | None = None,
    on_progress: Callable[[LabelCounts, float | None], None] | None = None,
) -> Estimation:
    """Draws the estimation samples that `blocks` lacks, in order, until they decide.

    Without a target radius they decide at n. With one they are looked at after every batch, as a contiguous prefix from
    sample 0 on: the stop is a function of the labels in their order, and what `blocks` holds beyond it is ignored.
    Only batches with a block missing from `blocks` are computed, whole, and only their missing blocks are committed.
    The result depends neither on block_size nor on who committed what, when.

    Args:
        sampler: Draws batches of inputs of the classifier.
        base_classifier: The classifier that is smoothed.
        params: Noise level, numbers of samples, error probability.
        selection: Counts of the n0 selection samples.
        blocks: Where the labels are kept. With `SharedBlocks`, other engines compute some of the batches.
        block_size: Samples of one block, a divisor of the batch size (default: the batch size), the same for everyone
            who works on these blocks.
        on_progress: Called after each batch that was computed with the counts up to there and, with a target radius,
            the running radius: never above the true one but with probability at most alpha. May raise to stop.

    Returns:
        The samples up to the stop, and what they decide.

    Raises:
        ValueError: `block_size` does not divide the batch size, or `blocks` holds blocks of another size.
    """
    n, n_classes, batch_size = params.n, base_classifier.n_classes, sampler.batch_size
    layout = Layout(n=n, batch_size=batch_size, block_size=batch_size if block_size is None else block_size)
    test = None if params.target_radius is None else SequentialTest(params, selection, look_every=batch_size)
    counts, verdict = LabelCounts(per_class=(0,) * n_classes), None
    drawn = []
    # Draw fresh noise, which the choice of the class did not see, and classify it batch by batch. Each label is
    # committed once: a resumed or second engine reads it and cannot draw it again, so nobody picks among draws.
    if isinstance(blocks, SharedBlocks):
        blocks.begin(layout, may_stop_early=test is not None)
    with closing(prefix(partial(label_batches, sampler, base_classifier, Stream.ESTIMATE), layout, blocks)) as batches:
        for batch_labels, computed in batches:
            drawn.append(batch_labels)
            counts = _add(counts, count(np.frombuffer(batch_labels, LABEL_DTYPE), n_classes))
            # With a target radius, look after every batch. Ville's inequality makes the confidence sequences true at
            # all looks together, so that stopping at one of them costs no more of alpha.
            if test is not None:
                verdict = test.look(counts)
            if computed and on_progress is not None:
                on_progress(counts, None if test is None else test.running_radius)
            if verdict is not None:
                break
    if isinstance(blocks, SharedBlocks):
        blocks.end()
    # Without one, look once, at n samples: Clopper-Pearson bounds hold at a number of samples that was fixed before.
    if verdict is None:
        verdict = SequentialDecision(outcome=decide(selection, counts, params), decision=Decision())
    return Estimation(labels=b"".join(drawn), counts=counts, outcome=verdict.outcome, decision=verdict.decision)


def _sampler(
    image: NDArray[Any] | torch.Tensor,
    base_classifier: BaseClassifier,
    params: SmoothingParams,
    noise: Noise,
    batch_size: int,
    pixel_map: InputMap | None = None,
) -> NoisySampler:
    if isinstance(image, torch.Tensor):
        if image.device.type != "cpu" or image.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"a tensor must be float32 or float64 on the CPU, got {image.dtype} on {image.device}")
        image = image.detach().numpy()
    shape = image.shape if pixel_map is None else pixel_map.shape
    if shape != base_classifier.input_shape:
        raise ValueError(f"the image must be of the classifier's shape {base_classifier.input_shape}, got {shape}")
    return NoisySampler(
        image=image,
        sigma=params.sigma,
        noise=noise,
        batch_size=batch_size,
        device=base_classifier.device,
        pixel_map=pixel_map,
    )


def _count_first(
    sampler: Sampler,
    base_classifier: BaseClassifier,
    stream: Stream,
    n: int,
    on_progress: Callable[[int], None] | None = None,
) -> LabelCounts:
    """Returns the counts of samples 0..n - 1 of a stream."""
    drawn = []
    with closing(label_batches(sampler, base_classifier, stream, range(0, n, sampler.batch_size))) as batches:
        for start, batch_labels in batches:
            drawn.append(batch_labels)
            if on_progress is not None:
                on_progress(min(start + sampler.batch_size, n))
    return count(np.concatenate(drawn)[:n], base_classifier.n_classes)


def _add(a: LabelCounts, b: LabelCounts) -> LabelCounts:
    """Returns the sum of the counts of two disjoint sets of samples."""
    return LabelCounts(per_class=tuple(map(add, a.per_class, b.per_class)), invalid=a.invalid + b.invalid)
