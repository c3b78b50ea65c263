"""`certrad calibrate-sets --check`: tests whether sets miss more often than they promise, on newly labelled images."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from scipy import stats

from certrad.models.errors import Rejected
from certrad.models.prediction_sets.evidence import misses_at_most
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
    """The misses on newly labelled images, and how likely so many are for two shares of misses.

    Attributes:
        calibration: Id of the calibration.
        beta: The share of misses that is promised.
        radius: L2 norm of the changes that the sets allow for.
        images: Images that were counted.
        missed: Sets without the class of the folder.
        empty: Sets without any class.
        p_value: P(Bin(images, beta) >= missed): a small one says that this calibration set misses more than beta.
        misses_at_most: The bound of this calibration set's share of misses, as certificates state it.
        p_value_at_most: P(Bin(images, misses_at_most) >= missed): a small one says that the bound does not hold.
        missed_of_class: Name of each class -> images, missed, p_value.
    """

    calibration: str
    beta: float
    radius: float
    images: int
    missed: int
    empty: int
    p_value: float
    misses_at_most: float
    p_value_at_most: float
    missed_of_class: dict[str, tuple[int, int, float]]


def check_sets(options: Namespace, settings: WorkerSettings) -> int:
    """Counts the misses on newly labelled images, and prints them with their probability.

    Args:
        options: Those of the command.
        settings: Those of the data directory.

    Returns:
        The exit code.

    Raises:
        ValueError: No file is an image, or they lie in no folders of classes.
        Rejected: The calibration or its classifier is not here, or an image is one of the calibration.
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
    check = _check(calibration.id, card, sampling, taken, digests, options)
    sys.stdout.write(json.dumps(asdict(check)) + "\n")
    return DONE


def missed_p_value(images: int, missed: int, beta: float) -> float:
    """Returns P(Bin(images, beta) >= missed), exactly.

    Args:
        images: The number of images.
        missed: Those whose set lacks their class.
        beta: The share of misses that is supposed.
    """
    return float(stats.binom.sf(missed - 1, images, beta))


def _check(
    calibration: str,
    card: CalibrationCard,
    sampling: SetSampling,
    taken: TakenImages,
    digests: Sequence[str],
    options: Namespace,
) -> SetCheck:
    beta, radius = card.beta if options.beta is None else options.beta, options.radius
    secret = sampling.epochs.named(card.seen.epoch_sha256)
    thresholds = SetRule.of_card(card, beta).thresholds(sampling.n, radius)
    at_most = misses_at_most(card, beta)
    missed, seen, empty = Counter[int](), Counter[int](), 0
    with progress_bar() as progress:
        pairs = zip(taken.images, digests, taken.sources, strict=True)
        for image, digest, source in progress.track(list(pairs), description="checking"):
            if secret is not None and card.seen.includes(secret.secret, digest):
                raise Rejected("image_was_calibrated_on", "an image of the folder is one of the calibration")
            label = source.label or 0
            found = prediction_set(class_counts(sampling.labels(image.numpy(), digest), len(thresholds)), thresholds)
            seen[label] += 1
            missed[label] += label not in found
            empty += not found
    return SetCheck(
        calibration=calibration,
        beta=beta,
        radius=radius,
        images=seen.total(),
        missed=missed.total(),
        empty=empty,
        p_value=missed_p_value(seen.total(), missed.total(), beta),
        misses_at_most=at_most,
        p_value_at_most=missed_p_value(seen.total(), missed.total(), at_most),
        missed_of_class={
            name: (seen[label], missed[label], missed_p_value(seen[label], missed[label], beta))
            for label, name in enumerate(card.class_names)
        },
    )
