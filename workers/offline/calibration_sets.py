"""`certrad calibrate-sets`: makes a calibration of prediction sets from a site's labelled images, or tests one."""

import hashlib
import json
import sys
import time
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import Tensor

from certrad.models.certificates.calibration_card import write_calibration
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.labels import run_lengths
from certrad.models.errors import Rejected
from certrad.models.evaluation.journal import Journal
from certrad.models.prediction_sets.ranks import clean_level, images_needed
from certrad.models.types.calibration import LINE, CalibrationCard, InstalledCalibration
from certrad.models.types.tuned_on import EpochDigests, keyed_digest
from certrad.workers.contract.calibrations import Calibrations
from certrad.workers.contract.exit_codes import BAD_USAGE, DONE, FAILURE, fail
from certrad.workers.contract.keyring import Keyring
from certrad.workers.engine.calibration_store import store
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.offline.labelled_images import labelled_images, require_distinct
from certrad.workers.offline.progress import progress_bar
from certrad.workers.offline.service_redis import running_redis
from certrad.workers.offline.set_check import check_sets
from certrad.workers.offline.set_sampling import SetSampling, class_counts, load_sampling
from certrad.workers.offline.settings import settings_of
from certrad.workers.settings import StackSettings, WorkerSettings

ENOUGH: Final = 200
"""Images of a class from which on a threshold of its own is worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCounts:
    """The samples of one calibration image.

    Attributes:
        image: Keyed digest of its model input, as the card has it.
        label: Index of its class.
        labels: The labels of its samples, as run lengths.
        agreeing: Those of its own class.
    """

    image: str
    label: int
    labels: str
    agreeing: int

    def to_line(self) -> str:
        """Returns the line of the checkpoint."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_line(line: str) -> "ImageCounts":
        """Returns what a line of the checkpoint says."""
        fields: dict[str, Any] = json.loads(line)
        return ImageCounts(**fields)


def calibrate_sets(options: Namespace) -> int:
    """Makes a calibration, stores it, publishes it if the service runs and prints it; or tests one.

    Args:
        options: Those of the command.

    Returns:
        The exit code: 0, 1 for a failure, 2 for bad usage.
    """
    settings = settings_of(StackSettings, options.data_dir)
    try:
        if options.check is not None:
            return check_sets(options, settings)
        calibration = _calibrate(options, settings)
    except Rejected as rejected:
        return fail(str(rejected), FAILURE)
    except (ValueError, OSError) as error:
        return fail(str(error), BAD_USAGE)
    with running_redis(settings, otherwise="the calibration is known once an engine starts") as redis:
        SigningKeys(settings.signing_dir).publish(Keyring(redis))
        Calibrations(redis).publish(calibration)
    _tell_few(calibration.card)
    shown = {name: value for name, value in asdict(calibration.card).items() if name not in ("seen", "counts")}
    images = dict(zip(calibration.card.class_names, map(len, calibration.card.counts), strict=True))
    sys.stdout.write(json.dumps({"id": calibration.id, "sha256": calibration.sha256, "images": images, **shown}) + "\n")
    return DONE


def _calibrate(options: Namespace, settings: WorkerSettings) -> InstalledCalibration:
    """Returns the calibration of a folder, signed and stored; the checkpoint is deleted then.

    Raises:
        ValueError: An image is there twice, or the checkpoint belongs to other settings.
        Rejected: The classifier cannot be used, or was made from one of the images.
        OSError: The disk refuses.
    """
    sampling = load_sampling(
        settings,
        task=options.task,
        prompt=options.prompt,
        adapter=options.adapter,
        sigma=options.sigma,
        n=options.n,
    )
    taken = labelled_images(options.images, sampling, settings)
    digests = require_distinct(taken)
    for digest in digests:
        sampling.require_unseen(digest)
    unfinished = settings.calibrations_dir / f"{options.name}.calibrating"
    counted = _count(taken.images, digests, [source.label or 0 for source in taken.sources], sampling, unfinished)
    key = SigningKeys(settings.signing_dir).current()
    calibration = write_calibration(_card(options, sampling, counted), key)
    store(settings.calibrations_dir, calibration)
    unfinished.unlink(missing_ok=True)
    return calibration


def _count(
    images: Tensor, digests: list[str], labels: list[int], sampling: SetSampling, unfinished: Path
) -> list[ImageCounts]:
    """Returns the counts of every image; those of the checkpoint are not drawn again.

    A digest without a key would tell everyone who has an image whether it is one of these, so none is written.
    """
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "classifier": sampling.classifier_sha256,
        "sigma": sampling.sigma,
        "n": sampling.n,
        "epoch": sampling.epoch.sha256,
    }
    journal = Journal(unfinished, json.dumps(settings, sort_keys=True))
    done = {(each.image, each.label): each for each in map(ImageCounts.from_line, journal.lines)}
    wanted = [
        (keyed_digest(sampling.epoch.secret, digest), label) for digest, label in zip(digests, labels, strict=True)
    ]
    with progress_bar() as progress:
        bar = progress.add_task("calibrating", total=len(wanted), completed=len(done.keys() & set(wanted)))
        for image, digest, (name, label) in zip(images, digests, wanted, strict=True):
            if (name, label) in done:
                continue
            drawn = sampling.labels(image.numpy().astype(np.float32), digest)
            agreeing = class_counts(drawn, len(sampling.spec.class_names))[label]
            counts = ImageCounts(image=name, label=label, labels=run_lengths(drawn.tolist()), agreeing=agreeing)
            journal.append(counts.to_line())
            done[name, label] = counts
            progress.advance(bar)
    return [done[each] for each in wanted]


def _card(options: Namespace, sampling: SetSampling, counted: list[ImageCounts]) -> CalibrationCard:
    spec = sampling.spec
    seen = EpochDigests(epoch_sha256=sampling.epoch.sha256, digests=tuple(sorted({each.image for each in counted})))
    records = sorted((each.image, each.label, each.labels) for each in counted)
    return CalibrationCard(
        name=options.name,
        site=options.site,
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        task=sampling.task.id,
        class_names=spec.class_names,
        backbone=spec.backbone,
        prompt=spec.prompt,
        adapter=spec.adapter,
        classifier_sha256=sampling.classifier_sha256,
        dtype=sampling.parts.dtype,
        law=sampling.parts.law,
        sigma=sampling.sigma,
        n=sampling.n,
        per_class=not options.pooled,
        slope=LINE[0],
        constant=LINE[1],
        beta=options.beta,
        poisoned_at_most=options.poisoned,
        counts=tuple(
            tuple(sorted(each.agreeing for each in counted if each.label == label))
            for label in range(len(spec.class_names))
        ),
        seen=seen,
        labels_sha256=hashlib.sha256(canonical(records)).hexdigest(),
    )


def _tell_few(card: CalibrationCard) -> None:
    """Writes which classes have too few images for a threshold, or for one that is worth it."""
    needed = images_needed(clean_level(card.beta), card.poisoned_at_most)
    groups = dict(zip(card.class_names, card.groups, strict=True)) if card.per_class else {"all": card.groups[0]}
    for name, counts in groups.items():
        if len(counts) < needed:
            sys.stderr.write(
                f"certrad: {name}: {len(counts)} images, but beta = {card.beta} needs {needed}: it is on every list\n"
            )
        elif card.per_class and len(counts) < ENOUGH:
            sys.stderr.write(
                f"certrad: {name}: {len(counts)} images; with fewer than {ENOUGH} a few poor images make its "
                "threshold 0, so that the class is on nearly every list; `--pooled` makes one threshold for all "
                "classes\n"
            )
