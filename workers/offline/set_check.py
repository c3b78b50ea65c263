"""`certrad calibrate-sets --check`: tests whether sets miss more often than they promise, on newly labelled images."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from certrad.models.errors import Rejected
from certrad.models.prediction_sets.confidence import many_misses
from certrad.models.prediction_sets.evidence import misses_at_most
from certrad.models.prediction_sets.ranks import clean_level, rank_of_misses
from certrad.models.prediction_sets.sets import SetRule, prediction_set
from certrad.models.types.calibration import CalibrationCard
from certrad.workers.contract.exit_codes import DONE
from certrad.workers.engine.calibration_store import read_stored
from certrad.workers.offline.labelled_images import labelled_images, require_distinct
from certrad.workers.offline.progress import progress_bar
from certrad.workers.offline.set_sampling import SetSampling, class_counts, load_sampling
from certrad.workers.offline.taken_images import TakenImages
from certrad.workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCheck:
    """The misses on newly labelled images, and how likely so many are if the promise holds.

    Attributes:
        calibration: Id of the calibration.
        beta: The share of misses that is promised.
        radius: L2 norm of the changes that the sets allow for.
        images: Images that were counted.
        missed: Sets without the class of the folder.
        empty: Sets without any class.
        p_value: How likely so many misses are if the promise holds, by the draw of calibration set and images. With a
            threshold for each class, the smallest one of any class times the number of classes, at most 1.
        misses_at_most: The bound of this calibration set's share of misses, as certificates state it.
        missed_of_class: Name of each class -> images, missed, p_value; without the last where the classes were
            calibrated together, since no class has a promise of its own then.
    """

    calibration: str
    beta: float
    radius: float
    images: int
    missed: int
    empty: int
    p_value: float
    misses_at_most: float
    missed_of_class: dict[str, tuple[int, int, float | None]]


def check_sets(options: Namespace, settings: WorkerSettings) -> int:
    """Counts the misses on newly labelled images, and prints them with their probability.

    Args:
        options: Those of the command.
        settings: Those of the data directory.

    Returns:
        The exit code.

    Raises:
        ValueError: No file is an image, or they lie in no folders of classes.
        Rejected: The calibration, its classifier or the secret that names its images is not here, or an image is one of
            the calibration, or one that prompt or adapter was made from.
    """
    calibration = read_stored(settings.calibrations_dir, options.check)
    card = calibration.card
    sampling = load_sampling(
        settings, task=card.task, prompt=card.prompt, adapter=card.adapter or "none", sigma=card.sigma, n=card.n
    )
    if sampling.classifier_sha256 != card.classifier_sha256:
        raise Rejected(
            "calibration_mismatch", "the classifier, its precision or its noise law is not that of the calibration"
        )
    taken = labelled_images(options.images, sampling, settings)
    digests = require_distinct(taken)
    _require_unseen(card, sampling, digests)
    check = _check(calibration.id, card, sampling, taken, digests, options)
    sys.stdout.write(json.dumps(asdict(check)) + "\n")
    return DONE


def _require_unseen(card: CalibrationCard, sampling: SetSampling, digests: Sequence[str]) -> None:
    """Refuses images that the calibration, the prompt or the adapter was made from: they miss less often than others.

    Raises:
        Rejected: image_was_calibrated_on, image_was_tuned_on, engine_mismatch.
    """
    if (epoch := sampling.epochs.named(card.seen.epoch_sha256)) is None:
        raise Rejected(
            "engine_mismatch",
            f"the images of the calibration are recorded under epoch secret {card.seen.epoch_sha256}, which is not "
            "here: copy the secrets of the machine that made it",
        )
    for digest in digests:
        if card.seen.includes(epoch.secret, digest):
            raise Rejected("image_was_calibrated_on", "an image of the folder is one of the calibration")
        sampling.require_unseen(digest)


def _p_values(card: CalibrationCard, beta: float, seen: Counter[int], missed: Counter[int]) -> dict[int, float]:
    """Returns, for each class with new images, how likely so many misses are; one for class 0 if it is for all."""
    level, groups = clean_level(beta), card.groups
    if not card.per_class:
        seen, missed = Counter({0: seen.total()}), Counter({0: missed.total()})
    ranks = [rank_of_misses(len(group), level, card.poisoned_at_most) for group in groups]
    return {label: many_misses(seen[label], missed[label], len(groups[label]), ranks[label]) for label in seen}


def _check(
    calibration: str,
    card: CalibrationCard,
    sampling: SetSampling,
    taken: TakenImages,
    digests: Sequence[str],
    options: Namespace,
) -> SetCheck:
    beta, radius = card.beta if options.beta is None else options.beta, options.radius
    thresholds = SetRule.of_card(card, beta).thresholds(sampling.n, radius)
    missed, seen, empty = Counter[int](), Counter[int](), 0
    with progress_bar() as progress:
        pairs = zip(taken.images, digests, taken.sources, strict=True)
        for image, digest, source in progress.track(list(pairs), description="checking"):
            label = source.label or 0
            found = prediction_set(class_counts(sampling.labels(image.numpy(), digest), len(thresholds)), thresholds)
            seen[label] += 1
            missed[label] += label not in found
            empty += not found
    p_values = _p_values(card, beta, seen, missed)
    return SetCheck(
        calibration=calibration,
        beta=beta,
        radius=radius,
        images=seen.total(),
        missed=missed.total(),
        empty=empty,
        p_value=min(1.0, len(p_values) * min(p_values.values())),
        misses_at_most=misses_at_most(card, beta),
        missed_of_class={
            name: (seen[label], missed[label], p_values.get(label) if card.per_class else None)
            for label, name in enumerate(card.class_names)
        },
    )
