"""Replays a certificate on this machine: draws its labels again from the revealed key, or others from a fresh one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch
from torch.nn import functional as F

from certrad.models.certificates.labels import parse_labels
from certrad.models.certificates.statement import StatedCertificate, Statement
from certrad.models.replay.near_ties import EXACT, NearTies
from certrad.models.replay.rebuild import Draws, Rebuilt
from certrad.models.smoothing import (
    SequentialTest,
    Stream,
    certify,
    clopper_pearson_lower,
    clopper_pearson_upper,
    decide,
    labels,
)
from certrad.models.smoothing.plan import plan_samples
from certrad.models.types import Certificate, FixedSigma, LabelCounts, SmoothingParams

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
    sentences, done = [], 0

    def report_done(more: int) -> None:
        nonlocal done
        done += more
        on_samples(done)

    for draws in rebuilt.draws(statement):
        transcript = parse_labels(draws.stated.labels)
        indices = sorted(random.sample(range(len(transcript)), min(n, len(transcript))))
        allowed = draws.near_ties if tolerant else EXACT
        found = _compare(draws, {index: transcript[index] for index in indices}, allowed, report_done)
        equal = f"{found.equal} of {found.total} random samples of {len(transcript)} have their label"
        if found.wrong:
            where = ", and their logits are no near-tie" if tolerant else ""
            raise ValueError(f"{equal}; the labels of {found.wrong} are wrong{where}")
        if allowed.too_many(found.near_ties, found.total, statement.params.alpha):
            raise ValueError(f"{equal}; {found.near_ties} differ in near-ties, more than processors do")
        of_ties = f", {found.near_ties} differ in a near-tie" if found.near_ties else ""
        sentences.append(equal + of_ties)
        sentences.append(_describe_undetected(statement, found.near_ties, found.total, len(transcript)))
    return "; ".join(sentences)


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
    one, size, found = replace(draws.sampler, batch_size=1), draws.sampler.batch_size, _Comparison()
    indices = list(stated)
    for first in range(0, len(indices), size):
        part = indices[first : first + size]
        pixels = torch.cat([one.batch(Stream.ESTIMATE, index) for index in part])
        with torch.inference_mode():
            padded = draws.classifier.logits(F.pad(pixels, (0, 0) * 3 + (0, size - len(part))))
        logits = padded[: len(part)].cpu()
        expected = torch.tensor([stated[index] for index in part])
        differ = torch.from_numpy(labels(logits).astype(np.int64)) != expected
        tied = int((differ & allowed.allow(logits, expected)).sum())
        found += _Comparison(equal=int((~differ).sum()), near_ties=tied, wrong=int(differ.sum()) - tied)
        on_drawn(len(part))
    return found


def _describe_undetected(statement: Statement, differ: int, replayed: int, total: int) -> str:
    """Returns a sentence: how many labels may be forged unnoticed, and the radius without them.

    See docs/mathematics.md, 7.1.
    """
    alpha = statement.params.alpha
    share = differ / total if replayed == total else clopper_pearson_upper(differ, replayed, alpha)
    forged = int(share * total)
    words = f"with confidence {1 - alpha:g} at most {forged} are forged"
    match statement.request.sigma, statement.claim:
        case FixedSigma(sigma), StatedCertificate():
            remaining = _radius_without(statement, statement.request.params.at(sigma), forged)
        case _:
            return words
    end = f"a radius of {remaining}" if remaining > 0 else "no radius: replay more samples"
    return f"{words}, which would leave {end}"


def _radius_without(statement: Statement, params: SmoothingParams, forged: int) -> float:
    """Returns the radius that follows if so many labels of the class were in truth the runner-up's."""
    counted, selection = statement.estimation.per_class, statement.selection
    if (index := selection.top) is None or forged > counted[index]:
        return 0.0
    others = [(count, label) for label, count in enumerate((*counted, statement.estimation.invalid)) if label != index]
    worst = [*counted, statement.estimation.invalid]
    worst[index] -= forged
    worst[max(others)[1]] += forged
    counts = LabelCounts(per_class=tuple(worst[:-1]), invalid=worst[-1])
    if params.target_radius is None:
        outcome = decide(selection, counts, params)
        return outcome.radius if isinstance(outcome, Certificate) else 0.0
    test = SequentialTest(params, selection, look_every=counts.total)
    verdict = test.look(counts)
    at_n = verdict.outcome if verdict is not None else None
    return max(test.running_radius, at_n.radius if isinstance(at_n, Certificate) else 0.0)
