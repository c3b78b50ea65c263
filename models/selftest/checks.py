"""The checks of a self-test that a device passes before it takes work.

Each returns what it found as a sentence, and raises CheckFailedError with the reason of a refusal.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.prompts.store import PromptStore
from certrad.models.selftest.band import bands
from certrad.models.selftest.facts import Words
from certrad.models.selftest.fused import choose_noise_kernel
from certrad.models.selftest.outcome import CheckFailedError, run_check
from certrad.models.selftest.references import References
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_prompts
from certrad.models.smoothing.device import noise_law
from certrad.models.smoothing.labelling import label_batches
from certrad.models.smoothing.noise import CPU_LAWS, GRID, Noise, Stream, boxmuller, philox4x32
from certrad.models.smoothing.sampling import NoisySampler, count
from certrad.models.types import NoiseLaw
from certrad.models.types.selftest import SelfTestCheck

LEAST_COSINE: Final = 0.999
MOST_ERROR: Final = 1e-11
"""Normals of two devices differ by about 1e-14; float32 ones would differ by 1e-7, and still lie within a grid step."""
MOST_OFF_GRID: Final = 1
"""Coordinates that may round to the neighbouring grid value; already one has a probability below 1e-6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCheck:
    """What the checks of a device need.

    Attributes:
        references: The stored references.
        device: The device.
        load: Returns the demonstration model, on the device and in the precision of the engine.
        batch_size: Samples of a batch.
        samples: Samples of the counts, rounded up to whole batches.
        key: Fresh random bytes: the key of the counts' noise.
        clock: Seconds, to measure the checks with.
    """

    references: References
    device: torch.device
    load: Callable[[], Backbone]
    batch_size: int
    samples: int
    key: bytes
    clock: Callable[[], float]

    def run(self) -> Iterator[SelfTestCheck]:
        """Yields the outcome of every check; those that need the model are left out if it does not load."""
        yield run_check("noise_words", lambda: check_noise_words(self.references, self.device), self.clock)
        yield run_check("normals", self._normals, self.clock)
        loaded: list[Backbone] = []

        def weights() -> str:
            loaded.append(self.load())
            return f"SHA-256 {loaded[0].sha256}, as the card of {loaded[0].card.id} says"

        yield run_check("weights", weights, self.clock)
        for backbone in loaded:
            yield run_check("features", lambda model=backbone: check_features(self.references, model), self.clock)  # type: ignore[misc]
            yield run_check("counts", lambda model=backbone: self._counts(model), self.clock)  # type: ignore[misc]

    def _normals(self) -> str:
        # First, so that the noisy pixels that are compared with the stored ones are drawn as those of certificates.
        chosen = [choose_noise_kernel(self.device)] if self.device.type == "cuda" else []
        return "; ".join([*chosen, check_normals(self.references, self.device)])

    def _counts(self, backbone: Backbone) -> str:
        return check_counts(self.references, backbone, self.key, batch_size=self.batch_size, samples=self.samples)


def check_noise_words(references: References, device: torch.device) -> str:
    """Compares the words of every generator with the stored ones: those of `4x32` are computed on the device.

    Args:
        references: The stored references.
        device: The device.

    Raises:
        CheckFailedError: A word differs.
    """
    for known in references.facts.words:
        found = _words_on_device(known, device) if known.kind == "4x32" else _WORDS_ON_CPU[known.kind](known)
        if found != [int(word, 16) for word in known.words]:
            spelled = " ".join(f"{word:x}" for word in found)
            raise CheckFailedError(
                f"{known.kind} of counter {known.counter} gives {spelled}, not {' '.join(known.words)}"
            )
    return f"{len(references.facts.words)} blocks of words equal the known answers"


def check_normals(references: References, device: torch.device) -> str:
    """Compares the normals of every law, and the noisy pixels made of them, with the stored ones.

    Args:
        references: The stored references.
        device: The device of the law `philox-boxmuller-f64`.

    Raises:
        CheckFailedError: A normal is too far away, or a noisy pixel more than a grid step.
    """
    return "; ".join(_check_law(references, law, device) for law in references.normals)


def check_features(references: References, backbone: Backbone) -> str:
    """Compares the features of the stored images and of the class texts with the stored features.

    Args:
        references: The stored references.
        backbone: The demonstration model, as the engine loaded it.

    Raises:
        CheckFailedError: A cosine is below LEAST_COSINE.
    """
    images = torch.cat((references.images.to(torch.float32) / GRID, references.phantom[None]))
    with torch.inference_mode():
        found = F.normalize(backbone.encode_image(images).to("cpu", torch.float32), dim=-1)
    of_images = _least_cosine(found, references.features, "image")
    of_texts = _least_cosine(_head(references, backbone).text_features.cpu(), references.text_features, "text")
    return f"least cosine {of_images:.6f} of {len(images)} images, {of_texts:.6f} of the class texts"


def check_counts(references: References, backbone: Backbone, key: bytes, *, batch_size: int, samples: int) -> str:
    """Draws labels of the shipped image with noise of a key, and compares their counts with the stored ones.

    Args:
        references: The stored references.
        backbone: The demonstration model, as the engine loaded it.
        key: The noise key; the false-alarm probability is over a random one.
        batch_size: Samples of a batch.
        samples: Samples, rounded up to whole batches.

    Raises:
        CheckFailedError: A count is outside its band.
    """
    facts, classifier = references.facts, _head(references, backbone).classifier(backbone, references.facts.sigma)
    found = count_labels(
        classifier,
        references.phantom.numpy(),
        facts.sigma,
        Noise(key, noise_law(backbone.device)),
        batch_size=batch_size,
        samples=samples,
    )
    drawn = sum(found)
    limits = bands(facts.counts, drawn)
    for index, (number, band) in enumerate(zip(found, limits, strict=True)):
        if number not in band:
            raise CheckFailedError(
                f"class {index} occurred {number} times in {drawn} samples, not {band.lowest} to {band.highest} times; "
                f"all counts: {found}; noise key {key.hex()}"
            )
    return f"{drawn} samples within the band: {found}; noise key {key.hex()}"


def count_labels(
    classifier: VisionLanguageClassifier,
    image: NDArray[np.float32],
    sigma: float,
    noise: Noise,
    *,
    batch_size: int,
    samples: int,
) -> list[int]:
    """Returns how often each class, and last a logit that is not finite, occurs under noise.

    Args:
        classifier: The base classifier.
        image: The model input.
        sigma: Standard deviation of the noise.
        noise: Key and law.
        batch_size: Samples of a batch.
        samples: Samples, rounded up to whole batches.
    """
    sampler = NoisySampler(
        image=image, sigma=sigma, noise=noise, batch_size=batch_size, device=classifier.backbone.device
    )
    with closing(label_batches(sampler, classifier, Stream.PREDICT, range(0, samples, batch_size))) as batches:
        drawn = [found for _, found in batches]
    counted = count(np.concatenate(drawn), classifier.n_classes)
    return [*counted.per_class, counted.invalid]


def _words_on_device(known: Words, device: torch.device) -> list[int]:
    c0, c1, c2, c3 = (torch.tensor([int(word, 16)], dtype=torch.int64, device=device) for word in known.counter)
    k0, k1 = (int(word, 16) for word in known.key)
    return [int(word) for word in philox4x32((c0, c1, c2, c3), (k0, k1))]


def _words_of_numpy(known: Words) -> list[int]:
    philox = np.random.Philox(key=np.array([int(word, 16) for word in known.key], dtype=np.uint64))
    fresh = philox.state
    fresh["state"]["counter"][:] = [int(word, 16) for word in known.counter]
    philox.state = fresh
    return [int(word) for word in philox.random_raw(4)]


def _words_of_aes(known: Words) -> list[int]:
    (key,), (counter,) = known.key, known.counter
    keystream = Cipher(algorithms.AES(bytes.fromhex(key)), modes.CTR(bytes.fromhex(counter))).encryptor()
    return [int(word) for word in np.frombuffer(keystream.update(bytes(16)), dtype="<u8")]


_WORDS_ON_CPU: Final[Mapping[str, Callable[[Words], list[int]]]] = {"4x64": _words_of_numpy, "aes128": _words_of_aes}


def _check_law(references: References, law: NoiseLaw, device: torch.device) -> str:
    facts, stored = references.facts, references.normals[law].numpy()
    key, stream, side = bytes.fromhex(facts.noise_key), Stream(facts.stream), references.phantom.shape[-1] // 4
    image = references.phantom.numpy()[:, :side, :side]
    error, off, farthest, digest = 0.0, 0, 0, hashlib.sha256()
    for expected, index in zip(stored, facts.indices, strict=True):
        one = range(index, index + 1)
        if law in CPU_LAWS:
            found = next(CPU_LAWS[law](key, stream, one, image.size))
        else:
            found = boxmuller(key, stream, one, image.size, device).cpu().numpy()[0]
        digest.update(found.tobytes())
        error = max(error, float(np.abs(found - expected).max()))
        where = torch.device("cpu") if law in CPU_LAWS else device
        sampler = NoisySampler(image=image, sigma=facts.sigma, noise=Noise(key, law), batch_size=1, device=where)
        noisy = np.rint(sampler.batch(stream, index).cpu().numpy().astype(np.float64).ravel() * GRID)
        steps = np.abs(noisy - np.rint((expected * facts.sigma + image.ravel().astype(np.float64)) * GRID))
        off, farthest = off + int(np.count_nonzero(steps)), max(farthest, int(steps.max()))
    if not error <= MOST_ERROR or off > MOST_OFF_GRID or farthest > 1:
        raise CheckFailedError(
            f"{law}: normals differ by up to {error:.1e}, {off} noisy pixels by up to {farthest} grid steps"
        )
    if law == "aes128ctr-boxmuller-f64" and digest.hexdigest() != facts.aes_normals_sha256:
        raise CheckFailedError(f"{law}: normals have other bits than on every other machine")
    return f"{law}: normals within {error:.1e}, {off} of {stored.size} noisy pixels one grid step away"


def _head(references: References, backbone: Backbone) -> TextHead:
    card = shipped_prompts()[references.facts.prompt]
    prompt = PromptStore(own=SHIPPED_PROMPTS).load(card)
    return TextHead.of_prompt(backbone, card.answers, prompt)


def _least_cosine(found: torch.Tensor, stored: torch.Tensor, of: str) -> float:
    if found.shape != stored.shape:
        raise CheckFailedError(f"the {of} features have the shape {tuple(found.shape)}, not {tuple(stored.shape)}")
    least = float(F.cosine_similarity(found.to(torch.float64), stored.to(torch.float64), dim=-1).min())
    if not least >= LEAST_COSINE:  # also for NaN
        raise CheckFailedError(f"the least cosine of an {of} feature is {least:.6f}, below {LEAST_COSINE}")
    return least
