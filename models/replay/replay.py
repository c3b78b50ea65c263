"""Replays a certificate on this machine: draws its labels again from the revealed key, or others from a fresh one."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch.nn import functional as F

from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.replay.near_ties import EXACT, NearTies
from certrad.models.replay.rebuild import Draws, Rebuilt
from certrad.models.replay.undetected import describe_undetected
from certrad.models.smoothing import (
    Stream,
    certify,
    clopper_pearson_lower,
    clopper_pearson_upper,
    labels,
)
from certrad.models.smoothing.plan import plan_samples
from certrad.models.types import Certificate, SmoothingParams

_OnSamples = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """Samples that were drawn again.

    Attributes:
        equal: Those with the stated label.
        near_ties: Those with another one, in a near-tie.
        wrong: All others.
    """

    equal: int = 0
    near_ties: int = 0
    wrong: int = 0

    @property
    def total(self) -> int:
        """Returns the number of samples."""
        return self.equal + self.near_ties + self.wrong

    def __add__(self, other: "_Comparison") -> "_Comparison":
        return _Comparison(
            equal=self.equal + other.equal,
            near_ties=self.near_ties + other.near_ties,
            wrong=self.wrong + other.wrong,
        )


def check_labels(
    statement: Statement,
    rebuilt: Rebuilt,
    n: int,
    random: Random,
    *,
    tolerant: bool,
    on_samples: _OnSamples = lambda _: None,
) -> str:
    """Checks that n random samples of every set, or all if there are fewer, have the labels of the transcript.

    Args:
        statement: The parsed document.
        rebuilt: Its classifier and noise.
        n: Number of samples of each set.
        random: Draws their indices; a forger of labels must not know it.
        tolerant: Whether labels may differ in near-ties, see `Rebuilt.may_differ`.
        on_samples: Called with the number of samples done.

    Returns:
        A sentence that says what agrees, and how much a forger could hide.

    Raises:
        ValueError: A label differs that may not, or too many do; the message says which.
    """
    sentences, report_done = [], _summed(on_samples)
    for draws in rebuilt.draws(statement):
        allowed, total = draws.near_ties if tolerant else EXACT, len(parse_labels(draws.stated.labels))
        found = _replay(draws, n, random, allowed, report_done)
        sentences.append(_agreement(found, total, allowed, statement.params.alpha, tolerant=tolerant))
        sentences.append(describe_undetected(statement, found.near_ties, found.total, total))
    return "; ".join(sentences)


def check_variants(
    statement: Statement,
    rebuilt: Rebuilt,
    n: int,
    random: Random,
    *,
    tolerant: bool,
    on_samples: _OnSamples = lambda _: None,
) -> str:
    """Checks that n random samples of every variant, or all if there are fewer, have the labels of the transcript.

    Args:
        statement: The parsed document.
        rebuilt: Its classifier, and the noise of every variant.
        n: Number of samples of each variant.
        random: Draws their indices.
        tolerant: Whether labels may differ in near-ties, see `Rebuilt.may_differ`.
        on_samples: Called with the number of samples done.

    Returns:
        A sentence that says what agrees.

    Raises:
        ValueError: A label differs that may not, or too many do; the message says which.
    """
    found, total, allowed, report_done = _Comparison(), 0, EXACT, _summed(on_samples)
    every = rebuilt.draws_of_variants(statement)
    for draws in every:
        allowed = draws.near_ties if tolerant else EXACT
        found += _replay(draws, n, random, allowed, report_done)
        total += len(parse_labels(draws.stated.labels))
    if not every:
        return "no variant was sampled"
    agreement = _agreement(found, total, allowed, statement.params.alpha, tolerant=tolerant)
    return f"of {len(every)} variants, {agreement}"


def check_windows(
    statement: Statement,
    rebuilt: Rebuilt,
    n: int,
    random: Random,
    *,
    tolerant: bool,
    on_samples: _OnSamples = lambda _: None,
) -> str:
    """Checks that n random samples with noise on the window, or all, have the labels of the transcript.

    Args:
        statement: The parsed document.
        rebuilt: Its classifier, and the noise on window and model input.
        n: Number of samples.
        random: Draws their indices.
        tolerant: Whether labels may differ in near-ties, see `Rebuilt.may_differ`.
        on_samples: Called with the number of samples done.

    Returns:
        A sentence that says what agrees.

    Raises:
        ValueError: A label differs that may not, or too many do; the message says which.
    """
    for draws in rebuilt.draws_of_windows(statement):
        allowed, total = draws.near_ties if tolerant else EXACT, len(parse_labels(draws.stated.labels))
        found = _replay(draws, n, random, allowed, _summed(on_samples))
        agreement = _agreement(found, total, allowed, statement.params.alpha, tolerant=tolerant)
        return f"{agreement}; {describe_undetected(statement, found.near_ties, found.total, total)}"
    return "no sample with noise on the window was drawn"


def _summed(on_samples: _OnSamples) -> _OnSamples:
    """Returns a function that takes the number of more samples, and reports how many there are in all."""
    done = 0

    def report_done(more: int) -> None:
        nonlocal done
        done += more
        on_samples(done)

    return report_done


def _replay(draws: Draws, n: int, random: Random, allowed: NearTies, on_drawn: _OnSamples) -> _Comparison:
    transcript = parse_labels(draws.stated.labels)
    indices = sorted(random.sample(range(len(transcript)), min(n, len(transcript))))
    return _compare(draws, {index: transcript[index] for index in indices}, allowed, on_drawn)


def _agreement(found: _Comparison, total: int, allowed: NearTies, alpha: float, *, tolerant: bool) -> str:
    """Returns a sentence that says how many samples have their label.

    Raises:
        ValueError: A label differs that may not, or too many do.
    """
    equal = f"{found.equal} of {found.total} random samples of {total} have their label"
    if found.wrong:
        where = ", and their logits are no near-tie" if tolerant else ""
        raise ValueError(f"{equal}; the labels of {found.wrong} are wrong{where}")
    if allowed.too_many(found.near_ties, found.total, alpha):
        raise ValueError(f"{equal}; {found.near_ties} differ in near-ties, more than processors do")
    return equal + (f", {found.near_ties} differ in a near-tie" if found.near_ties else "")


def check_selection(statement: Statement, rebuilt: Rebuilt, *, tolerant: bool) -> str:
    """Checks that the selection samples, all of them, give the stated counts.

    Args:
        statement: The parsed document.
        rebuilt: Its classifier and noise.
        tolerant: Whether it is enough that they choose the same class.

    Returns:
        A sentence that says that they agree.

    Raises:
        ValueError: They do not; the message says where.
    """
    request = statement.request
    selection = plan_samples(request.sigma, request.params).select(rebuilt.sampler, rebuilt.classifier)
    for counted, stated in zip(selection.runs, statement.selections, strict=True):
        if counted != stated and not (tolerant and counted.top == stated.top):
            raise ValueError(f"the selection samples give {counted}, the document states {stated}")
    return "all of them choose what is stated"


def check_fresh_noise(
    statement: Statement, rebuilt: Rebuilt, key: bytes, on_samples: _OnSamples = lambda _: None
) -> str:
    """Checks that as many samples of other noise agree with the claim; a true claim fails with probability <= 4 alpha.

    Args:
        statement: The parsed document.
        rebuilt: Its classifier and noise.
        key: Key of the noise, 32 bytes that the maker of the certificate could not know.
        on_samples: Called with the number of samples done.

    Returns:
        A sentence with the radius that these samples give.

    Raises:
        ValueError: They contradict the claim; the message says how.
    """
    claim, stated = statement.claim, statement.params
    n = max(len(parse_labels(statement.estimation.labels)), stated.n0)
    certification = certify(
        rebuilt.sampler.image,
        rebuilt.classifier(stated.sigma),
        SmoothingParams(sigma=stated.sigma, alpha=stated.alpha, n0=stated.n0, n=n, bound=stated.bound),
        key=key,
        law=rebuilt.sampler.noise.law,
        batch_size=rebuilt.sampler.batch_size,
        on_progress=lambda counts, _: on_samples(counts.total),
        pixel_map=rebuilt.sampler.pixel_map,
    )
    outcome, counts, index = certification.outcome, certification.estimation.counts, statement.selection.top
    match outcome, claim:
        case Certificate(class_index=other), StatedCertificate(class_index=claimed) if other != claimed:
            raise ValueError(f"another key certifies {statement.classifier.class_names[other]}")
    if index is not None:
        most = clopper_pearson_upper(counts.per_class[index], counts.total, stated.alpha)
        least = clopper_pearson_lower(counts.runner_up(index), counts.total, stated.alpha / len(counts.per_class))
        if most < claim.p_a_lower or least > claim.p_b_upper:
            raise ValueError(
                f"another key shows p_A <= {most:.6f} and p_B >= {least:.6f}, "
                f"the document states p_a_lower {claim.p_a_lower} and p_b_upper {claim.p_b_upper}"
            )
    radius = f"radius {outcome.radius}" if isinstance(outcome, Certificate) else "no radius"
    return f"{counts.total} samples of another key show {radius} and do not contradict the claim"


def _compare(draws: Draws, stated: dict[int, int], allowed: NearTies, on_drawn: _OnSamples) -> _Comparison:
    """Returns how stated labels of samples, by index, compare with those drawn again.

    They are drawn in batches of the block size, the last one padded.
    """
    size, found = draws.sampler.batch_size, _Comparison()
    indices = list(stated)
    for first in range(0, len(indices), size):
        part = indices[first : first + size]
        pixels = torch.cat([draws.sampler.sample(Stream.ESTIMATE, index) for index in part])
        with torch.inference_mode():
            padded = draws.classifier.logits(F.pad(pixels, (0, 0) * 3 + (0, size - len(part))))
        logits = padded[: len(part)].cpu()
        expected = torch.tensor([stated[index] for index in part])
        differ = torch.from_numpy(labels(logits).astype(np.int64)) != expected
        tied = int((differ & allowed.allow(logits, expected)).sum())
        found += _Comparison(equal=int((~differ).sum()), near_ties=tied, wrong=int(differ.sum()) - tied)
        on_drawn(len(part))
    return found
