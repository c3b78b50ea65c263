"""The card of a calibration: how many noisy samples of labelled images have their own class, and a request for sets."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from certrad.models.types.smoothing import N_MAX, NoiseLaw, check_sigma
from certrad.models.types.tuned_on import EpochDigests

BETA_RANGE: Final = (0.001, 0.5)
SET_DECIMALS: Final = 4
SET_RATIO_MAX: Final = 4.0
"""The largest radius of a set, in sigma."""
SET_STEPS_PER_UNIT: Final = 100
"""The fixed list of radii of single classes is 0, 0.01, 0.02, ... in L2 norm of the model input."""
DELTA: Final = 0.05
"""Probability that the calibration set is a worse one than a document says."""
LINE: Final = (1.1, 0.0005)
"""a and c of the line a f + c, which is the same for every calibration (docs/mathematics.md, 11.2)."""
SITE_MAX: Final = 200
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSignature:
    """The signer of a card and the signature.

    Attributes:
        algorithm: Always `Ed25519`.
        public_key: 32 bytes in hexadecimal.
        value: 64 bytes in hexadecimal.
    """

    algorithm: Literal["Ed25519"]
    public_key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCard:
    """A calibration set: the classifier, the noise, and the counts of its images, of which it holds digests only.

    Attributes:
        schema: Name of the schema.
        name: Name of the calibration.
        site: Site, scanner and protocol that the images come from, in the operator's words.
        made: The day on which it was made, as 2026-05-01.
        task: Id of the task.
        class_names: The names of the classes, in order.
        backbone: Id of the backbone.
        prompt: Id of the prompt, or `template`.
        adapter: Id of the adapter; None for the frozen image tower.
        classifier_sha256: Digest of the base classifier with its noise law, as certificates state it.
        dtype: Precision of the image encoder.
        law: Named law of the noise.
        sigma: Noise standard deviation in pixels of [0, 1].
        n: Samples of each image.
        per_class: Whether each class has its own threshold, or all have one together.
        slope: a of the line a f + c.
        constant: c of the line.
        beta: The share of misses that a request gets if it names none.
        poisoned_at_most: Images that somebody may have replaced.
        counts: For each class the samples, of each of its images, that have this class; sorted.
        seen: The images, by keyed digests of their model inputs.
        labels_sha256: SHA-256 over the keyed digest, the class and the labels of every sample of every image.
        signature: The signature; None before it is signed.
    """

    schema: Literal["certrad.calibration/1"] = "certrad.calibration/1"
    name: str
    site: str
    made: str
    task: str
    class_names: tuple[str, ...]
    backbone: str
    prompt: str
    adapter: str | None
    classifier_sha256: str
    dtype: str
    law: NoiseLaw
    sigma: float
    n: int
    per_class: bool
    slope: float
    constant: float
    beta: float
    poisoned_at_most: int
    counts: tuple[tuple[int, ...], ...]
    seen: EpochDigests
    labels_sha256: str
    signature: CalibrationSignature | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"the name of a calibration must match {_NAME.pattern}, got {self.name!r:.80}")
        if not (self.site.isprintable() and len(self.site) <= SITE_MAX and _DATE.fullmatch(self.made)):
            raise ValueError(f"site must be at most {SITE_MAX} printable characters, and made a day such as 2026-05-01")
        for name in ("classifier_sha256", "labels_sha256"):
            if not _SHA256.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} must be 64 hexadecimal digits")
        check_sigma(self.sigma)
        check_beta(self.beta)
        self._check_rule()
        if len(self.counts) != len(self.class_names) or not any(self.counts):
            raise ValueError("counts must be of every class, and of at least one image")
        for counts in self.counts:
            if list(counts) != sorted(counts) or (counts and not 0 <= counts[0] <= counts[-1] <= self.n):
                raise ValueError("the counts of a class must be sorted, from 0 to n")
        if len(self.seen.digests) != self.images:
            raise ValueError("there must be one digest for each image")

    def _check_rule(self) -> None:
        if (self.slope, self.constant) != LINE:
            raise ValueError(f"slope and constant must be {LINE[0]} and {LINE[1]}, which all thresholds are made with")
        if not 1 <= self.n <= N_MAX or self.poisoned_at_most < 0:
            raise ValueError(f"n must be in 1..{N_MAX} and poisoned_at_most >= 0")

    @property
    def images(self) -> int:
        """Returns the number of calibration images."""
        return sum(map(len, self.counts))

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Returns the counts that the threshold of each class is made of."""
        if self.per_class:
            return self.counts
        return (tuple(sorted(count for counts in self.counts for count in counts)),) * len(self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledCalibration:
    """A calibration as processes share it.

    Attributes:
        id: Its name and the first 16 hexadecimal digits of the SHA-256 of its file.
        sha256: SHA-256 of its file.
        document: The file, canonical JSON with its signature.
        card: What the file says.
    """

    id: str
    sha256: str
    document: str
    card: CalibrationCard

    def __post_init__(self) -> None:
        if not is_calibration_id(self.id, self.sha256):
            raise ValueError(f"the id must be the name and the first 16 digits of sha256, got {self.id!r:.80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSetRequest:
    """The prediction set that a certificate is to state.

    Attributes:
        calibration: Id of the calibration.
        sha256: SHA-256 of its file.
        beta: The share of misses that is allowed, in [0.001, 0.5].
        radius: L2 norm of the changes of the model input that the set allows for; pixels in [0, 1].
    """

    calibration: str
    sha256: str
    beta: float
    radius: float

    def __post_init__(self) -> None:
        if not is_calibration_id(self.calibration, self.sha256):
            raise ValueError(f"the calibration must be named by its id, got {self.calibration!r:.80}")
        check_beta(self.beta)
        if not (0 <= self.radius < float("inf") and round(self.radius, SET_DECIMALS) == self.radius):
            raise ValueError(f"prediction_radius must be >= 0 with at most {SET_DECIMALS} decimals")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSetEvidence:
    """The prediction set of one image, and what its thresholds are made of.

    Attributes:
        n: Samples of a calibration image.
        per_class: Whether each class has its own threshold.
        poisoned_at_most: Calibration images that somebody may have replaced.
        images: For each class, the calibration images behind its threshold.
        quantiles: For each class, the count that its threshold is made of; 0 for none.
        thresholds: For each class, the samples of this image that put it into the set.
        classes: The classes in the set, from 0.
        single_up_to: The largest radius of the list 0, 0.01, 0.02, ... at which one class alone is in; None unless this
            class alone is in at the radius that was asked for, which must not be larger.
        single_class: That class; None for none.
        misses_at_most: With confidence 1 - DELTA, the share of misses with this calibration set is at most this.
    """

    n: int
    per_class: bool
    poisoned_at_most: int
    images: tuple[int, ...]
    quantiles: tuple[int, ...]
    thresholds: tuple[int, ...]
    classes: tuple[int, ...]
    single_up_to: float | None
    single_class: int | None
    misses_at_most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSetResult:
    """A list of classes that misses the correct one at most as often as promised.

    Attributes:
        calibration: Id of the calibration.
        beta: The share of misses that is promised, on images like those of the calibration.
        radius: L2 norm of the changes of the model input that the set allows for.
        classes: The classes in the set, from 0; none where no class reaches its threshold.
        labels: Their names.
        thresholds: For each class, the samples that put it into the set.
        single_up_to: The largest radius of the list at which one class alone is in; None for none.
        single_label: The name of that class.
        misses_at_most: With confidence 1 - delta, the share of misses with this calibration set is at most this.
        delta: Probability that the calibration set is a worse one.
        text: The claim in words; to be shown wherever the set is.
    """

    calibration: str
    beta: float
    radius: float
    classes: tuple[int, ...]
    labels: tuple[str, ...]
    thresholds: tuple[int, ...]
    single_up_to: float | None
    single_label: str | None
    misses_at_most: float
    delta: float
    text: str


def calibration_id(name: str, sha256: str) -> str:
    """Returns the id of a calibration.

    Args:
        name: Its name.
        sha256: SHA-256 of its file.
    """
    return f"{name}-{sha256[:16]}"


def is_calibration_id(given: str, sha256: str) -> bool:
    """Returns whether an id is one of a calibration whose file has this SHA-256.

    Args:
        given: The id.
        sha256: SHA-256 of the file.
    """
    name = given.rpartition("-")[0]
    return bool(_NAME.fullmatch(name) and _SHA256.fullmatch(sha256)) and given == calibration_id(name, sha256)


def check_beta(beta: float) -> None:
    """Checks that a share of misses is in its range and has few decimals.

    Args:
        beta: The share.

    Raises:
        ValueError: It is not.
    """
    low, high = BETA_RANGE
    if not (low <= beta <= high and round(beta, SET_DECIMALS) == beta):  # also refuses NaN
        raise ValueError(f"beta must be in {low}..{high} with at most {SET_DECIMALS} decimals, got {beta!r}")
