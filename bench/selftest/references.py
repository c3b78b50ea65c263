"""Makes the phantom and the stored references of the self-test, on a CPU in float32."""

import argparse
import hashlib
import math
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

import mpmath
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from certrad.bench.selftest.aes import encrypt
from certrad.bench.selftest.phantom import phantom
from certrad.bench.selftest.philox import philox4x
from certrad.models.backbones.base import EMBEDDED, EMBEDDED_ID, Backbone, load_backbone
from certrad.models.classifier import TextHead
from certrad.models.files import replace_file
from certrad.models.images.model_input import model_input
from certrad.models.prompts.store import PromptStore
from certrad.models.selftest.checks import count_labels
from certrad.models.selftest.facts import PHANTOM, REFERENCES, ReferenceFacts, Words
from certrad.models.selftest.references import References
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.smoothing.noise import GRID, Noise, Stream, aes_boxmuller, ziggurat
from certrad.models.types import NoiseLaw
from certrad.models.types.window import FileWindow
from certrad.workers.decoders import dicom

SEED: Final = b"certrad self-test references"
SIGMA: Final = 0.5
TASK: Final = "mednist"
BATCH: Final = 64
INDICES: Final = (0, 1_000_003)
_PACKAGES: Final = ("numpy", "torch", "open_clip_torch", "pydicom")
_RANDOM123: Final = (
    ((0, 0, 0, 0), (0, 0)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)),
)
"""The counters and keys of which Random123 publishes the answers."""
_NIST: Final = ("2b7e151628aed2a6abf7158809cf4f3c", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
"""The key and the first counter block of which NIST SP 800-38A, F.5.1, publishes the answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--samples", type=int, default=8_192, help="samples of the reference counts")
    parser.add_argument("--out", type=Path, default=REFERENCES.parent, help="folder to write into")


def run(arguments: argparse.Namespace) -> None:
    """Writes `phantom.dcm` and `references.safetensors`."""
    slice_ = phantom()
    references = make_references(slice_, samples=arguments.samples)
    replace_file(arguments.out / PHANTOM.name, slice_, private=False)
    replace_file(arguments.out / REFERENCES.name, references.to_bytes(), private=False)
    print(f"counts of {arguments.samples} samples: {references.facts.counts}")


def make_references(slice_: bytes, *, samples: int) -> References:
    """Returns the references of a DICOM file.

    Args:
        slice_: The DICOM file.
        samples: Samples of the reference counts.
    """
    card = shipped_backbones()[EMBEDDED_ID]
    backbone = load_backbone(card, EMBEDDED)
    decoded = dicom.decode(slice_, max_pixels=1 << 20, window=FileWindow())
    seen = model_input(decoded, card.image_size, card.fit)
    image = torch.from_numpy(seen.pixels.copy())
    task = shipped_tasks()[TASK]
    prompt_card = shipped_prompts()[task.default_prompt or ""]
    prompt = PromptStore(own=SHIPPED_PROMPTS).load(prompt_card)
    head = TextHead.of_prompt(backbone, prompt_card.answers, prompt)
    images = stored_images(card.image_size)
    found = count_labels(
        head.classifier(backbone, SIGMA),
        image.numpy(),
        SIGMA,
        Noise(key("counts")),
        batch_size=BATCH,
        samples=samples,
    )
    d = 3 * (card.image_size // 4) ** 2
    return References(
        facts=ReferenceFacts(
            words=tuple(known_words()),
            noise_key=key("normals").hex(),
            stream=int(Stream.ESTIMATE),
            indices=INDICES,
            aes_normals_sha256=_aes_normals_sha256(d),
            sigma=SIGMA,
            task=TASK,
            prompt=prompt_card.id,
            counts=tuple(found),
            phantom_sha256=hashlib.sha256(slice_).hexdigest(),
            pixels_sha256=decoded.sha256,
            input_sha256=seen.sha256,
            software=tuple(f"{name} {version(name)}" for name in _PACKAGES),
        ),
        phantom=image,
        images=images,
        features=encoded(backbone, torch.cat((images.to(torch.float32) / GRID, image[None]))),
        text_features=head.text_features.to(torch.float32),
        normals=stored_normals(d),
    )


def key(purpose: str) -> bytes:
    """Returns the noise key for a purpose: public, and always the same."""
    return hashlib.sha256(SEED + purpose.encode()).digest()


def known_words() -> list[Words]:
    """Returns blocks of every generator, computed in plain integers."""
    words = [_words(32, counter, pair) for counter, pair in _RANDOM123]
    for number in range(16):
        digest = key(f"words {number}")
        first = [int.from_bytes(digest[at : at + 4], "little") for at in range(0, 24, 4)]
        words.append(_words(32, first[:4], first[4:]))
    noise_key = key("normals")
    pair = [int.from_bytes(noise_key[at : at + 8], "little") for at in (0, 8)]
    for index in (0, 1, INDICES[-1], 1 << 62):
        for stream in Stream:
            # numpy counts up before it computes a block: its first words are those of counter + 1.
            answer = _words(64, (1, 0, index, stream), pair)
            start = tuple(f"{word:x}" for word in (0, 0, index, stream))
            words.append(Words(kind=answer.kind, key=answer.key, counter=start, words=answer.words))
    words.append(_aes_words(bytes.fromhex(_NIST[0]), bytes.fromhex(_NIST[1])))
    for index in (0, 1, INDICES[-1], 1 << 62):
        words += [_aes_words(noise_key[:16], _counter_block(stream, index, 77)) for stream in Stream]
    return words


def stored_normals(d: int) -> dict[NoiseLaw, Tensor]:
    """Returns d normals of each stored index: Box-Muller from exact words with 40 digits, the ziggurat by numpy.

    Args:
        d: Normals of each index.
    """
    noise_key, stream = key("normals"), Stream.ESTIMATE
    drawn = [next(ziggurat(noise_key, stream, range(index, index + 1), d)).copy() for index in INDICES]
    pairs = math.ceil(d / 2)
    of_philox = [box_muller(philox_words(noise_key, stream, index, pairs))[:d] for index in INDICES]
    of_aes = [box_muller(aes_words(noise_key, stream, index, pairs))[:d] for index in INDICES]
    return {
        "philox-ziggurat-f64": torch.from_numpy(np.stack(drawn)),
        "philox-boxmuller-f64": torch.from_numpy(np.stack(of_philox)),
        "aes128ctr-boxmuller-f64": torch.from_numpy(np.stack(of_aes)),
    }


def _aes_normals_sha256(d: int) -> str:
    """Returns the SHA-256 of the normals of the AES law, which are the same on every machine."""
    digest = hashlib.sha256()
    for index in INDICES:
        digest.update(next(aes_boxmuller(key("normals"), Stream.ESTIMATE, range(index, index + 1), d)).tobytes())
    return digest.hexdigest()


def box_muller(words: Iterable[tuple[int, int]]) -> NDArray[np.float64]:
    """Returns the two normals of each pair of words of 64 bits, by the Box-Muller transform with 40 digits.

    Args:
        words: The pairs.
    """
    normals: list[float] = []
    with mpmath.workdps(40):
        for first, second in words:
            u1 = mpmath.mpf((first >> 11) + 1) / 2**53
            angle = 2 * mpmath.pi * (second >> 11) / mpmath.mpf(2**53)
            r = mpmath.sqrt(-2 * mpmath.log(u1))
            normals += [float(r * mpmath.cos(angle)), float(r * mpmath.sin(angle))]
    return np.array(normals)


def philox_words(noise_key: bytes, stream: int, index: int, pairs: int) -> Iterator[tuple[int, int]]:
    """Yields the words of the law `philox-boxmuller-f64`, from plain integers.

    Args:
        noise_key: 32 bytes.
        stream: The stream.
        index: The sample.
        pairs: Pairs of words.
    """
    pair_key = [int.from_bytes(noise_key[at : at + 4], "little") for at in (0, 4)]
    for pair in range(pairs):
        w0, w1, w2, w3 = philox4x(32, (pair, 0, index, stream), pair_key)
        yield w0 << 32 | w1, w2 << 32 | w3


def aes_words(noise_key: bytes, stream: int, index: int, pairs: int) -> Iterator[tuple[int, int]]:
    """Yields the words of the law `aes128ctr-boxmuller-f64`, from plain integers.

    Args:
        noise_key: 32 bytes.
        stream: The stream.
        index: The sample.
        pairs: Pairs of words.
    """
    for pair in range(pairs):
        block = encrypt(noise_key[:16], _counter_block(stream, index, pair))
        yield int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little")


def stored_images(side: int) -> Tensor:
    """Returns four images on the grid, uint8 (4, 3, side, side): a ramp, rings, a chequered field and noise.

    Args:
        side: Side in pixels.
    """
    y, x = np.mgrid[0:side, 0:side].astype(np.int64)
    ramp = x * 255 // (side - 1)
    rings = ((x - side // 2) ** 2 + (y - side // 2) ** 2) * 7 % 256
    chequered = ((x // 8 + y // 8) % 2) * 200 + 20
    grey = np.stack([ramp, rings, chequered])
    noise = np.frombuffer(hashlib.shake_256(key("images")).digest(3 * side * side), dtype=np.uint8)
    coloured = np.repeat(grey[:, None], 3, axis=1).astype(np.uint8)
    return torch.from_numpy(np.concatenate((coloured, noise.reshape(1, 3, side, side))))


def encoded(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Returns the L2-normalised features of pixels."""
    with torch.inference_mode():
        return F.normalize(backbone.encode_image(pixels).to(torch.float32), dim=-1)


def _words(bits: int, counter: tuple[int, ...] | list[int], pair: tuple[int, ...] | list[int]) -> Words:
    answer = philox4x(bits, counter, pair)

    def spelled(words: tuple[int, ...] | list[int]) -> tuple[str, ...]:
        return tuple(f"{word:x}" for word in words)

    return Words(kind=f"4x{bits}", key=spelled(pair), counter=spelled(counter), words=spelled(answer))


def _counter_block(stream: int, index: int, pair: int) -> bytes:
    return index.to_bytes(8, "big") + stream.to_bytes(2, "big") + pair.to_bytes(6, "big")


def _aes_words(key: bytes, counter: bytes) -> Words:
    block = encrypt(key, counter)
    words = tuple(f"{int.from_bytes(block[at : at + 8], 'little'):x}" for at in (0, 8))
    return Words(kind="aes128", key=(key.hex(),), counter=(counter.hex(),), words=words)
